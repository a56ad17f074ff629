"""Collates samples into one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resnet_backbone.structures import Batch, Sample, Targets


def collate_samples(samples: Sequence[Sample], *, size_divisor: int = 1) -> Batch:
    """Returns a batch of one or more samples, see `structures.Batch` for the shapes.

    Args:
        samples: Images of any sizes.
        size_divisor: The padded height and width are multiples of it, as the model requires
            (`RCNN.size_divisor`); 1 pads only to the largest image.
    """
    sizes = torch.tensor([sample.image.shape[1:] for sample in samples])
    return Batch(
        images=_pad_images([sample.image for sample in samples], size_divisor),
        sizes=sizes,
        original_sizes=[sample.original_size for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        targets=_pad_targets(samples),
    )


def _pad_images(images: Sequence[Tensor], divisor: int) -> Tensor:
    height, width = (
        -(-max(image.shape[axis] for image in images) // divisor) * divisor for axis in (1, 2)
    )
    padded = torch.zeros((len(images), 3, height, width), dtype=torch.uint8)  # [B, 3, H, W]
    padded = padded.contiguous(memory_format=torch.channels_last)
    for slot, image in zip(padded, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return padded


def _pad_targets(samples: Sequence[Sample]) -> Targets:
    most = max(1, *(len(sample.boxes) for sample in samples))
    boxes = torch.zeros((len(samples), most, 4))
    classes = torch.zeros((len(samples), most), dtype=torch.int64)
    valid = torch.zeros((len(samples), most), dtype=torch.bool)
    for row, sample in enumerate(samples):
        count = len(sample.boxes)
        boxes[row, :count] = sample.boxes
        classes[row, :count] = sample.classes
        valid[row, :count] = True
    return Targets(
        boxes=boxes,
        classes=classes,
        valid=valid,
        keys=torch.tensor([sample.key for sample in samples]),
        masks=[sample.masks for sample in samples] if any(s.masks for s in samples) else (),
    )
