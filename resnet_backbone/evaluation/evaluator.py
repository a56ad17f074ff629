"""What the evaluation loop expects of anything that judges detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from resnet_backbone.structures import Detections


class Evaluator(Protocol):
    """Collects detections, then turns them into numbers; the loop never knows which ones.

    Attributes:
        per_class: After `evaluate`, AP per task and class name; NaN where a class has no instance.
        errors: After `evaluate`, by task and kind of error: how many, and what they cost.
        explanation: After `evaluate`, why a result is zero or undefined; None for any other result.
    """

    per_class: dict[str, dict[str, float]]
    errors: dict[str, dict[str, dict[str, float]]]
    explanation: str | None

    def reset(self) -> None:
        """Forgets everything that was collected."""

    def process(self, detections: Sequence[Detections]) -> None:
        """Collects the detections of some images; each rank brings those of its own images."""

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {task: {metric: value}} over the images of all ranks, the same on each.

        Every rank must call it. A metric without ground truth is NaN.
        """
