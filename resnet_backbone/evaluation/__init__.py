"""Evaluation of detections and classifications against ground truth."""

from resnet_backbone.evaluation.coco import CocoEvaluator
from resnet_backbone.evaluation.evaluator import Evaluator

__all__ = ["CocoEvaluator", "Evaluator"]
