"""The interface that the evaluation loop requires of an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from resnet_backbone.evaluation.details import Details
from resnet_backbone.structures import Detections


class Evaluator(Protocol):
    """Collects detections and computes metrics, which the loop does not know.

    Attributes:
        per_class: After `evaluate`, AP per task and class name; NaN for a class without instances.
        errors: After `evaluate`, the number and cost of errors per task and kind of error.
        explanation: After `evaluate`, why a result is zero or undefined; otherwise None.
        details: After `evaluate`, on the main rank, what figures are drawn from; None if there are
            none.
    """

    per_class: dict[str, dict[str, float]]
    errors: dict[str, dict[str, dict[str, float]]]
    explanation: str | None
    details: Details | None

    def reset(self) -> None:
        """Discards everything that was collected."""

    def process(self, detections: Sequence[Detections]) -> None:
        """Collects the detections of some images; each rank brings those of its own images."""

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {task: {metric: value}} over the images of all ranks; a collective call.

        The result is the same on every rank. A metric without ground truth is NaN.
        """
