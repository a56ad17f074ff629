"""Images with detections, curves and tables."""

from resnet_backbone.report.curves import draw_curves
from resnet_backbone.report.draw import draw_comparison, draw_detections
from resnet_backbone.report.tables import errors_table, metrics_table, per_class_table

__all__ = [
    "draw_comparison",
    "draw_curves",
    "draw_detections",
    "errors_table",
    "metrics_table",
    "per_class_table",
]
