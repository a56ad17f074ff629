"""Checked detections as arrays that are small enough to keep and to send to other ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from torch import Tensor

from resnet_backbone.errors import DataError
from resnet_backbone.structures import Detections


@dataclass(frozen=True)
class CompactDetections:
    """The detections of one image.

    Attributes:
        size: (height, width).
        boxes: float64[N, 4], COCO's (x, y, width, height).
        scores: float64[N].
        classes: int64[N].
        masks: N compressed run-length encodings, or None.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: list[bytes] | None


@dataclass(frozen=True)
class JoinedDetections:
    """The detections of all images, one image after the other.

    Attributes:
        images: int64[N], ascending; index of each detection's image, as in `Truth`.
        boxes: float64[N, 4], COCO's (x, y, width, height).
        scores: float64[N].
        classes: int64[N].
        masks: N RLEs {"size": (height, width), "counts": bytes}; empty without masks.
    """

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: list[dict[str, Any]]


def compact(found: Detections, *, class_count: int, with_masks: bool) -> CompactDetections:
    """Checks the detections of an image, as COCO's code does not, and returns them as arrays.

    Args:
        found: The detections, on any device.
        class_count: Number of classes K; classes are 0 to K - 1.
        with_masks: Whether masks are required; otherwise they are dropped.

    Raises:
        DataError: a box or a score is not finite.
        ValueError: the detections violate the contract of `Detections`.
    """
    corners = found.boxes.double().cpu().numpy().reshape(-1, 4)
    scores, classes = found.scores.double().cpu().numpy(), found.classes.cpu().numpy()
    where = f"image {found.image_id}"
    if not len(corners) == len(scores) == len(classes):
        counts = f"{len(corners)} boxes, {len(scores)} scores and {len(classes)} classes"
        raise ValueError(f"{where}: found {counts}, expected equal numbers")
    finite = np.isfinite(corners).all(axis=1) & np.isfinite(scores)
    if not finite.all():
        raise DataError(
            f"{where}: {(~finite).sum()} detections have a box or score that is not finite"
        )
    if (corners[:, 2:] < corners[:, :2]).any():
        raise ValueError(f"{where}: a box ends before it begins; expected (x0, y0, x1, y1)")
    unknown = classes[(classes < 0) | (classes >= class_count)]
    if len(unknown):
        raise ValueError(f"{where}: class {unknown[0]}, expected 0 to {class_count - 1}")
    return CompactDetections(
        size=found.size,
        boxes=np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1),
        scores=scores,
        classes=classes,
        masks=_checked_masks(found) if with_masks else None,
    )


def _checked_masks(found: Detections) -> list[bytes]:
    if found.masks is None:
        raise ValueError(f"image {found.image_id}: found no masks, but the task segm needs them")
    expected = (len(found.boxes), *found.size)
    if tuple(found.masks.shape) != expected:
        shape = tuple(found.masks.shape)
        raise ValueError(
            f"image {found.image_id}: found masks of shape {shape}, expected {expected}"
        )
    return encode_masks(found.masks)


def encode_masks(masks: Tensor) -> list[bytes]:
    """Returns the compressed run-length encodings of bool[N, H, W].

    COCO's runs go down the columns. The masks are therefore transposed on their device, where that
    is cheap, so that the encoder reads memory in order.
    """
    columns = masks.transpose(1, 2).contiguous().cpu().numpy().view(np.uint8)
    return [rle["counts"] for rle in mask_api.encode(columns.transpose(2, 1, 0))]


def join(found: Mapping[int, CompactDetections], max_detections: int) -> JoinedDetections:
    """Returns all detections in ascending order of their image.

    Args:
        found: The detections of each image, by its index.
        max_detections: Maximum number of detections per image and class; those with the highest
            scores are kept.
    """
    numbers = sorted(found)
    images = [_best(found[number], max_detections) for number in numbers]
    lengths = [len(image.scores) for image in images]
    return JoinedDetections(
        images=np.repeat(np.array(numbers, dtype=np.int64), lengths),
        boxes=np.concatenate([np.empty((0, 4)), *(image.boxes for image in images)]),
        scores=np.concatenate([np.empty(0), *(image.scores for image in images)]),
        classes=np.concatenate([np.empty(0, dtype=np.int64), *(image.classes for image in images)]),
        # Sizes are tuples, since one list per mask would slow down garbage collection.
        masks=[
            {"size": image.size, "counts": counts}
            for image in images
            for counts in image.masks or ()
        ],
    )


def _best(found: CompactDetections, limit: int) -> CompactDetections:
    """Drops the detections for which `limit` others of their class have higher scores."""
    if len(found.scores) <= limit:
        return found
    order = np.lexsort((-found.scores, found.classes))
    classes = found.classes[order]
    place = np.arange(len(order)) - np.searchsorted(classes, classes)
    return take(found, np.sort(order[place < limit]))


def take(found: CompactDetections, kept: np.ndarray) -> CompactDetections:
    """Returns the detections with the indices `kept`, int64[n]."""
    return CompactDetections(
        size=found.size,
        boxes=found.boxes[kept],
        scores=found.scores[kept],
        classes=found.classes[kept],
        masks=None if found.masks is None else [found.masks[index] for index in kept],
    )
