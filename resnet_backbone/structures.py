"""The plain data types that the data, detection and evaluation packages exchange.

These types are all that those packages share; none of them imports another. Boxes are always
`(x0, y0, x1, y1)` in absolute pixels with continuous coordinates: pixel column i covers [i, i + 1).
Classes are always 0-based and contiguous; COCO's category ids stay in the data package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

# One instance's mask: a list of polygons, each float64[V, 2] with (x, y) vertices; or a bitmap
# bool[H, W] if the annotation was an RLE, which has no vertices.
InstanceMask = list[np.ndarray] | np.ndarray

# Chooses rows of a tensor: bool[N], their indices, or a slice.
Indices = Tensor | np.ndarray | Sequence[int] | Sequence[bool] | slice


@dataclass(frozen=True)
class Sample:
    """One image with its instances, after augmentation.

    Attributes:
        image: uint8[3, H, W], RGB.
        image_id: The dataset's id of the image.
        original_size: (height, width) before resizing; detections are reported at this size.
        key: Non-negative int64 computed from (seed, epoch, position). It seeds every random draw
            that the model makes for this image, so results do not depend on the number of ranks
            or workers.
        boxes: float32[N, 4], xyxy in pixels of `image`.
        classes: int64[N].
        masks: N masks in pixels of `image`; empty if the task needs no masks.
    """

    image: Tensor
    image_id: int
    original_size: tuple[int, int]
    key: int
    boxes: Tensor
    classes: Tensor
    masks: Sequence[InstanceMask] = ()


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch, padded to the largest number of instances per image G (at least 1).

    Attributes:
        boxes: float32[B, G, 4], xyxy in pixels; zeros in the padding.
        classes: int64[B, G]; zeros in the padding.
        valid: bool[B, G], true for instances, false for padding.
        keys: int64[B], each image's `Sample.key`.
        masks: The instance masks of each image. They stay on the host, which rasterises them.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    keys: Tensor
    masks: Sequence[Sequence[InstanceMask]] = ()


@dataclass(frozen=True)
class Batch:
    """Images padded at the bottom and on the right to a common size.

    Attributes:
        images: uint8[B, 3, H, W], RGB, channels_last, not normalised (the model normalises them);
            H and W are multiples of the model's `size_divisor`.
        sizes: int64[B, 2], (height, width) of each image without its padding.
        original_sizes: (height, width) of each image before resizing.
        image_ids: The dataset's id of each image.
        targets: Ground truth, or None if there is none.
    """

    images: Tensor
    sizes: Tensor
    original_sizes: Sequence[tuple[int, int]]
    image_ids: Sequence[int]
    targets: Targets | None = None

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Returns a batch with `change` applied to every tensor, always in the same order."""
        images, sizes = change(self.images), change(self.sizes)
        targets = self.targets and replace(
            self.targets,
            boxes=change(self.targets.boxes),
            classes=change(self.targets.classes),
            valid=change(self.targets.valid),
            keys=change(self.targets.keys),
        )
        return replace(self, images=images, sizes=sizes, targets=targets)

    def to(self, device: torch.device | str) -> Batch:
        """Returns the batch on `device`; tensors in pinned memory are copied asynchronously."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Returns the batch with its tensors in page-locked memory (called by DataLoader)."""
        return self.map_tensors(Tensor.pin_memory)


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size, each with a class label.

    Attributes:
        images: [B, 3, H, W], RGB, channels_last, 0 to 255, not normalised; uint8, or float32 after
            mixup or CutMix.
        labels: int64[B], class indices.
        keys: int64[B], each image's `Sample.key`.
        image_ids: A name for each image, for use in messages.
        targets: float32[B, K], class probabilities that sum to 1, after mixup or CutMix;
            otherwise None.
    """

    images: Tensor
    labels: Tensor
    keys: Tensor
    image_ids: Sequence[str]
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> ImageBatch:
        """Returns a batch with `change` applied to every tensor, always in the same order."""
        images, labels, keys = change(self.images), change(self.labels), change(self.keys)
        targets = None if self.targets is None else change(self.targets)
        return ImageBatch(images, labels, keys, self.image_ids, targets)

    def to(self, device: torch.device | str) -> ImageBatch:
        """Returns the batch on `device`; tensors in pinned memory are copied asynchronously."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ImageBatch:
        """Returns the batch with its tensors in page-locked memory (called by DataLoader)."""
        return self.map_tensors(Tensor.pin_memory)


@dataclass(frozen=True)
class Detections:
    """The detections of one image, in pixels of the original image, highest score first.

    Attributes:
        image_id: The dataset's id of the image.
        size: (height, width) of the original image.
        boxes: float32[N, 4], xyxy in pixels.
        scores: float32[N] in [0, 1].
        classes: int64[N].
        masks: bool[N, height, width], or None if the model predicts no masks.
    """

    image_id: int
    size: tuple[int, int]
    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: Indices) -> Self:
        """Returns those detections that `chosen` is true for, or contains, in its order."""
        return replace(
            self,
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            classes=self.classes[chosen],
            masks=None if self.masks is None else self.masks[chosen],
        )

    def cpu(self) -> Self:
        """Returns a copy with all tensors on the CPU."""
        return replace(
            self,
            boxes=self.boxes.cpu(),
            scores=self.scores.cpu(),
            classes=self.classes.cpu(),
            masks=None if self.masks is None else self.masks.cpu(),
        )
