"""Resizes and flips an image together with its boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from resnet_backbone.structures import InstanceMask

# Boxes with a shorter side after resizing are dropped, in pixels
# (detectron2/data/detection_utils.py, filter_empty_instances).
MIN_SIDE = 1e-5


@dataclass(frozen=True)
class Annotated:
    """An image with its instances.

    Attributes:
        image: uint8[3, H, W], RGB.
        boxes: float32[N, 4], xyxy in pixels.
        classes: int64[N].
        masks: N masks, or empty if masks are not used.
    """

    image: Tensor
    boxes: np.ndarray
    classes: np.ndarray
    masks: Sequence[InstanceMask] = ()


def target_size(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Returns (height, width) with the given short side, or a smaller one to respect `max_side`.

    Rounds as detectron2's ResizeShortestEdge does (data/transforms/augmentation_impl.py).
    """
    scale = short_side / min(height, width)
    sides = (short_side, scale * width) if height < width else (scale * height, short_side)
    # Two multiplications, as in detectron2: with a single factor the rounding sometimes differs.
    limit = min(1.0, max_side / max(sides))
    return max(1, int(sides[0] * limit + 0.5)), max(1, int(sides[1] * limit + 0.5))


def augment(
    sample: Annotated,
    rng: np.random.Generator,
    *,
    short_sides: Sequence[int],
    max_side: int,
    flip: float,
) -> Annotated:
    """Resizes to a random one of `short_sides` and flips with probability `flip`.

    Args:
        sample: The decoded image with its instances.
        rng: The only source of randomness.
        short_sides: The short sides to choose from, in pixels.
        max_side: The maximum long side, in pixels.
        flip: Probability of a horizontal flip.
    """
    short_side = int(rng.choice(np.asarray(short_sides)))
    sample = resize_sample(sample, short_side, max_side)
    return flip_horizontally(sample) if rng.random() < flip else sample


def resize_sample(sample: Annotated, short_side: int, max_side: int) -> Annotated:
    """Resizes bilinearly with antialiasing; instances whose box becomes empty are dropped."""
    height, width = sample.image.shape[1:]
    new_height, new_width = target_size(height, width, short_side, max_side)
    scale = np.array([new_width / width, new_height / height])  # (x, y)
    # In float64, rounding can put the right or bottom edge of a box slightly beyond the border.
    border = np.tile([new_width, new_height], 2)  # [4]
    boxes = np.minimum(sample.boxes * np.tile(scale, 2), border).astype(np.float32)  # [N, 4]
    resized = Annotated(
        image=resize_image(sample.image, (new_height, new_width)),
        boxes=boxes,
        classes=sample.classes,
        masks=[_resize_mask(mask, scale, (new_height, new_width)) for mask in sample.masks],
    )
    return select(resized, (boxes[:, 2:] - boxes[:, :2] > MIN_SIDE).all(axis=1))


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the image as uint8[3, height, width]; `size` is (height, width)."""
    if tuple(image.shape[1:]) == size:
        return image
    return F.resize(image, list(size), antialias=True)


def flip_horizontally(sample: Annotated) -> Annotated:
    """Mirrors the image, boxes and masks left to right."""
    width = sample.image.shape[2]
    boxes = sample.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - sample.boxes[:, 2], width - sample.boxes[:, 0]
    return replace(
        sample,
        image=sample.image.flip(2),
        boxes=boxes,
        masks=[_flip_mask(mask, width) for mask in sample.masks],
    )


def select(sample: Annotated, keep: np.ndarray) -> Annotated:
    """Returns the sample with only the instances for which `keep`, bool[N], is true."""
    masks = [mask for mask, kept in zip(sample.masks, keep, strict=False) if kept]
    return replace(sample, boxes=sample.boxes[keep], classes=sample.classes[keep], masks=masks)


def _resize_mask(mask: InstanceMask, scale: np.ndarray, size: tuple[int, int]) -> InstanceMask:
    if isinstance(mask, list):
        return [corners * scale for corners in mask]
    bitmap = torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()  # [1, 1, H, W]
    resized = torch.nn.functional.interpolate(bitmap, size, mode="bilinear", align_corners=False)
    return (resized[0, 0] >= 0.5).numpy()


def _flip_mask(mask: InstanceMask, width: int) -> InstanceMask:
    if isinstance(mask, list):
        return [corners * (-1.0, 1.0) + (width, 0.0) for corners in mask]
    return np.ascontiguousarray(mask[:, ::-1])
