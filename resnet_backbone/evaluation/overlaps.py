"""The overlaps of detections and objects, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import hotcoco
import numpy as np

from resnet_backbone.evaluation.compact import JoinedDetections
from resnet_backbone.evaluation.ground_truth import Truth


@dataclass(frozen=True)
class ImageOverlaps:
    """The detections of an image, by descending score, and its objects.

    Attributes:
        classes: int64[N], of the detections.
        scores: float64[N], descending.
        object_classes: int64[G].
        crowd: bool[G].
        iou: float64[N, G]; for a crowd region, the part of the detection that is inside.
    """

    classes: np.ndarray
    scores: np.ndarray
    object_classes: np.ndarray
    crowd: np.ndarray
    iou: np.ndarray


def image_overlaps(truth: Truth, found: JoinedDetections, task: str) -> Iterator[ImageOverlaps]:
    """Yields the overlaps in each image of `truth`, also where nothing was found.

    Args:
        truth: The objects of the task, see `Truth.for_task`.
        found: The detections, with masks if `task` is "segm".
        task: "bbox" or "segm".
    """
    numbers = np.arange(len(truth.sizes) + 1)
    ours, theirs = np.searchsorted(found.images, numbers), np.searchsorted(truth.images, numbers)
    outlines = truth.outlines
    for number in numbers[:-1]:
        rows, objects = (slice(*ends[number : number + 2]) for ends in (ours, theirs))
        crowd = truth.crowd[objects]
        if task == "segm":
            iou = hotcoco.primitives.mask_iou(found.masks[rows], outlines[objects], crowd)
        else:
            iou = hotcoco.primitives.bbox_iou(found.boxes[rows], truth.boxes[objects], crowd)
        best_first = np.argsort(-found.scores[rows], kind="stable")
        yield ImageOverlaps(
            found.classes[rows][best_first],
            found.scores[rows][best_first],
            truth.classes[objects],
            crowd,
            iou[best_first],
        )
