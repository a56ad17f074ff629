"""Which class was taken for which, what was missed, and what was found where nothing is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from resnet_backbone.evaluation.compact import JoinedDetections
from resnet_backbone.evaluation.ground_truth import Truth
from resnet_backbone.evaluation.overlaps import ImageOverlaps, image_overlaps

SCORE, IOU = 0.5, 0.5


@dataclass(frozen=True)
class ObjectMatches:
    """Objects and the detections that belong to them; the class K stands for the background.

    Each object and each confident detection is in one row: an object with its detection, an object
    that was missed, or a detection without an object.

    Attributes:
        images: int64[P], ascending; index of each row's image, as in `Truth`.
        true: int64[P], the class of the object; K for a detection without one.
        predicted: int64[P], the class of the detection; K for an object that was missed.
        scores: float64[P], of the detection; 0 for an object that was missed.
        class_count: K.
    """

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    class_count: int

    @property
    def matrix(self) -> np.ndarray:
        """int64[K + 1, K + 1], how many objects of each class (row) were taken for which."""
        side = self.class_count + 1
        return np.bincount(self.true * side + self.predicted, minlength=side**2).reshape(side, side)


def match_objects(truth: Truth, found: JoinedDetections) -> ObjectMatches:
    """ObjectMatches objects with detections by their boxes, whatever the classes are.

    Detections that score `SCORE` or more, highest first, take the free object that they overlap
    most, with an IoU of `IOU` or more. Those without an object that are inside a crowd region, with
    half of their area or more, are left out, and so are crowd regions.

    Args:
        truth: The objects of the task "bbox".
        found: The detections.
    """
    background = truth.class_count
    kept = found.scores >= SCORE
    confident = replace(
        found,
        images=found.images[kept],
        boxes=found.boxes[kept],
        scores=found.scores[kept],
        classes=found.classes[kept],
        masks=[],
    )
    overlaps = image_overlaps(truth, confident, "bbox")
    tables = [_match(image, number, background) for number, image in enumerate(overlaps)]
    rows = np.concatenate([np.empty((0, 4)), *tables])
    images, true, predicted = rows[:, :3].astype(np.int64).T
    return ObjectMatches(images, true, predicted, rows[:, 3], background)


def _match(image: ImageOverlaps, number: int, background: int) -> np.ndarray:
    """Returns float64[P, 4]: the columns of `ObjectMatches` for one image."""
    rows, free = [], ~image.crowd
    for row, (predicted, score) in enumerate(zip(image.classes, image.scores, strict=True)):
        iou = np.where(free, image.iou[row], 0.0)
        best = int(iou.argmax()) if len(iou) else -1
        if best >= 0 and iou[best] >= IOU:
            free[best] = False
            rows.append((number, image.object_classes[best], predicted, score))
        elif not (image.iou[row, image.crowd] >= IOU).any():
            rows.append((number, background, predicted, score))
    rows += [(number, true, background, 0.0) for true in image.object_classes[free]]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)
