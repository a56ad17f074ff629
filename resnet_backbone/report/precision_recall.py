"""Draws precision over recall: the mean of all classes, and some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnet_backbone.report.curves import TASKS
from resnet_backbone.report.names import save_figure, short, show_names

MOST_CLASSES = 12  # curves in a panel, and the mean
PANEL = (7.2, 4.6)  # inches
IOU_THRESHOLDS = ("0.50", "0.75")


def draw_precision_recall(
    precision: Mapping[str, np.ndarray], class_names: Sequence[str], out: Path
) -> None:
    """Draws one row of panels per task; of many classes, the best and the worst ones.

    Args:
        precision: By task float64[2, K, R], at IoU 0.50 and 0.75, at R recalls from 0 to 1; NaN for
            classes without objects.
        class_names: The name of each of the K classes.
        out: The PNG file to write.
    """
    rows = max(1, len(precision))
    figure = Figure((2 * PANEL[0], rows * PANEL[1]), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for row, (task, curves) in enumerate(precision.items()):
        for column, iou in enumerate(IOU_THRESHOLDS):
            axes = figure.add_subplot(rows, 2, 2 * row + column + 1)
            axes.set_title(f"{TASKS.get(task, task).capitalize()}, IoU of at least {iou}")
            _draw_panel(axes, curves[column], class_names)
    save_figure(figure, out)


def _draw_panel(axes: Axes, curves: np.ndarray, class_names: Sequence[str]) -> None:
    recall = np.linspace(0, 1, curves.shape[1])
    average = curves.mean(axis=1)  # its mean over recall is the AP of a curve
    colors = colormaps["tab20"]
    for place, index in enumerate(shown_classes(average)):
        label = f"{average[index]:.3f}  {short(class_names[index])}"
        axes.plot(recall, curves[index], color=colors(place), linewidth=1.2, label=label)
    defined = ~np.isnan(average)
    if defined.any():
        label = f"{average[defined].mean():.3f}  mean of {int(defined.sum())}"
        axes.plot(recall, curves[defined].mean(axis=0), color="black", linewidth=2.2, label=label)
    axes.set_xlabel("recall: part of the objects that are found")
    axes.set_ylabel("precision: part of the detections that are right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        title = "AP and class"
        hidden = int(defined.sum()) + 1 - len(handles)
        if hidden:
            title += f"\n({MOST_CLASSES // 2} best, {MOST_CLASSES // 2} worst)"
        # Best first, beside the panel: curves end in every corner.
        legend = axes.legend(
            handles[::-1],
            labels[::-1],
            title=title,
            fontsize="small",
            title_fontsize="small",
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
        )
        show_names(legend.get_texts())


def shown_classes(average: np.ndarray) -> list[int]:
    """Returns the classes to draw, ascending by `average`, float64[K], without NaN.

    If they are more than `MOST_CLASSES`, the worst and the best half of that number.
    """
    order = [int(index) for index in np.argsort(average, kind="stable")]
    order = order[: int((~np.isnan(average)).sum())]  # NaN comes last
    if len(order) <= MOST_CLASSES:
        return order
    half = MOST_CLASSES // 2
    return order[:half] + order[-half:]
