"""What figures about an evaluation are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resnet_backbone.evaluation.confusion import ObjectMatches


@dataclass(frozen=True)
class Details:
    """More than the numbers in tables, of one evaluation of a detector.

    Attributes:
        class_names: The name of each class, all of them different.
        image_ids: The images, in the order of `ObjectMatches.images`.
        precision: By task float64[2, K, 101], see `average_precision.Scores.precision`.
        matches: Objects and detections that belong together, by their boxes; None if boxes were
            not evaluated.
    """

    class_names: tuple[str, ...]
    image_ids: tuple[int, ...]
    precision: Mapping[str, np.ndarray]
    matches: ObjectMatches | None
