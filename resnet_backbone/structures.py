"""The plain types that data, detection and evaluation hand to each other.

They are the only thing these packages share: none of them imports another. Boxes are always
absolute pixels `(x0, y0, x1, y1)` with continuous coordinates: pixel column i covers [i, i + 1).
Classes are always 0-based and contiguous; COCO's category ids stay in the data package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

# One instance's mask: a list of polygons, each float64[V, 2] of (x, y) corners, or a bitmap
# bool[H, W] where the annotation was an RLE, which has no corners.
InstanceMask = list[np.ndarray] | np.ndarray


@dataclass(frozen=True)
class Sample:
    """One image with its instances, after augmentation.

    Attributes:
        image: uint8[3, H, W], RGB.
        image_id: The dataset's id.
        original_size: (height, width) before resizing; detections are reported at this size.
        key: Non-negative int64, a function of (seed, epoch, position): every random draw that the
            model makes for this image comes from it, so results do not depend on ranks or workers.
        boxes: float32[N, 4] in pixels of `image`.
        classes: int64[N].
        masks: N masks in pixels of `image`; empty where the task needs none.
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
    """Ground truth of a batch, padded to the largest number of instances G (at least 1).

    Attributes:
        boxes: float32[B, G, 4]; zeros where padded.
        classes: int64[B, G]; zeros where padded.
        valid: bool[B, G], true where there is an instance.
        keys: int64[B], `Sample.key`.
        masks: Per image the instances' masks; stays on the host, where they are rasterised.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    keys: Tensor
    masks: Sequence[Sequence[InstanceMask]] = ()


@dataclass(frozen=True)
class Batch:
    """Images padded at the bottom and right to one size that 32 divides.

    Attributes:
        images: uint8[B, 3, H, W], RGB, channels_last; not normalised (the model's buffers do that).
        sizes: int64[B, 2], (height, width) of each image inside its padding.
        original_sizes: Per image (height, width) before resizing.
        image_ids: Per image the dataset's id.
        targets: Ground truth, or None where it is not known.
    """

    images: Tensor
    sizes: Tensor
    original_sizes: Sequence[tuple[int, int]]
    image_ids: Sequence[int]
    targets: Targets | None = None

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Returns the batch with `change` of each of its tensors, always in the same order."""
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
        """Returns the batch with its tensors on `device`; asynchronous from pinned memory."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Returns the batch with its tensors in page-locked memory (called by DataLoader)."""
        return self.map_tensors(Tensor.pin_memory)


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size with a class each.

    Attributes:
        images: [B, 3, H, W], RGB, channels_last, 0 to 255, not normalised: uint8, or float32 where
            images were mixed.
        labels: int64[B].
        keys: int64[B], see `Sample.key`.
        image_ids: Per image what to call it in messages.
        targets: float32[B, K], rows of sum 1, where labels were mixed; None elsewhere.
    """

    images: Tensor
    labels: Tensor
    keys: Tensor
    image_ids: Sequence[str]
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> ImageBatch:
        """Returns the batch with `change` of each of its tensors, always in the same order."""
        images, labels, keys = change(self.images), change(self.labels), change(self.keys)
        targets = None if self.targets is None else change(self.targets)
        return ImageBatch(images, labels, keys, self.image_ids, targets)

    def to(self, device: torch.device | str) -> ImageBatch:
        """Returns the batch with its tensors on `device`; asynchronous from pinned memory."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ImageBatch:
        """Returns the batch with its tensors in page-locked memory (called by DataLoader)."""
        return self.map_tensors(Tensor.pin_memory)


@dataclass(frozen=True)
class Detections:
    """What was found in one image, in pixels of the original image, best score first.

    Attributes:
        image_id: The dataset's id.
        size: (height, width) of the original image.
        boxes: float32[N, 4].
        scores: float32[N] in [0, 1].
        classes: int64[N].
        masks: bool[N, height, width], or None for a model without masks.
    """

    image_id: int
    size: tuple[int, int]
    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def cpu(self) -> Detections:
        """Returns a copy on the host."""
        return replace(
            self,
            boxes=self.boxes.cpu(),
            scores=self.scores.cpu(),
            classes=self.classes.cpu(),
            masks=None if self.masks is None else self.masks.cpu(),
        )
