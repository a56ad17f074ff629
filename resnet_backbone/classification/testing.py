"""How classifiers are tested: by one crop, ten crops, or whole images at several scales.

One crop is what loaders cut.

Everything here is uint8 until the classifier normalises it. What is averaged over the views of an
image, and over the members of an ensemble, are probabilities after the softmax.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from resnet_backbone.errors import ConfigError

SCALES = (224, 256, 384, 480, 640)  # He et al. 2016, section 3.4
MAX_VIEWS = 64  # in one forward pass

# Maps uint8[n, 3, h, w] to scores float[n, K].
Classify = Callable[[Tensor], Tensor]


class Testing(Protocol):
    """A way of looking at an image."""

    def views(self, image: Tensor) -> list[Tensor]:
        """Returns the pictures uint8[3, h, w] of an image uint8[3, H, W] to classify."""


@dataclass(frozen=True)
class TenCrop:
    """The corners, the middle, and their mirror images (Krizhevsky et al. 2012, section 4.1).

    Attributes:
        resize: Short side of the resized image, which is cropped.
        size: Side of the crops.
        interpolation: How to resize: the name of an `InterpolationMode` of torchvision.
    """

    resize: int = 256
    size: int = 224
    interpolation: str = "bilinear"

    def views(self, image: Tensor) -> list[Tensor]:
        """Returns top left, top right, bottom left, bottom right, middle; then these mirrored."""
        mode = InterpolationMode(self.interpolation)
        resized = F.resize(image, [self.resize], mode, antialias=True)
        return list(F.ten_crop(resized, [self.size]))


@dataclass(frozen=True)
class MultiScale:
    """The whole image at several sizes, and its mirror images.

    "For best results, we adopt the fully-convolutional form ..., and average the scores at multiple
    scales (images are resized such that the shorter side is in {224, 256, 384, 480, 640})" (section
    3.4). A classifier with global average pooling is in that form already: averaging the linear
    layer's scores over positions is the linear layer on the average of the features.

    Attributes:
        scales: Short sides.
        interpolation: See `TenCrop`.
    """

    scales: Sequence[int] = SCALES
    interpolation: str = "bilinear"

    def views(self, image: Tensor) -> list[Tensor]:
        """Returns two views for each scale."""
        mode = InterpolationMode(self.interpolation)
        resized = [F.resize(image, [scale], mode, antialias=True) for scale in self.scales]
        return [view for whole in resized for view in (whole, F.horizontal_flip(whole))]


def make_testing(
    name: str,
    *,
    resize: int = 256,
    size: int = 224,
    scales: Sequence[int] = SCALES,
    interpolation: str = "bilinear",
) -> Testing:
    """Returns the way of testing that is called "ten_crop" or "multi_scale".

    Raises:
        ConfigError: there is no such way.
    """
    if name == "ten_crop":
        return TenCrop(resize, size, interpolation)
    if name == "multi_scale":
        return MultiScale(scales, interpolation)
    raise ConfigError(f"testing: got {name!r}, expected ten_crop or multi_scale")


def classify_images(
    classify: Classify, images: Sequence[Tensor], testing: Testing, *, max_views: int = MAX_VIEWS
) -> Tensor:
    """Returns float32[B, K], for each image the mean of its views' probabilities.

    Args:
        classify: Maps uint8[n, 3, h, w] to scores.
        images: B images uint8[3, H, W] of any sizes.
        testing: Which views of them.
        max_views: How many are classified in one pass at most; only views of one size share it.
    """
    by_size: dict[torch.Size, list[tuple[int, Tensor]]] = defaultdict(list)
    for index, image in enumerate(images):
        for view in testing.views(image):
            by_size[view.shape].append((index, view))
    total, count = None, torch.zeros(len(images))
    for group in by_size.values():
        for start in range(0, len(group), max_views):
            part = group[start : start + max_views]
            found = classify(torch.stack([view for _, view in part])).float().softmax(dim=1)
            if total is None:
                total = found.new_zeros(len(images), found.shape[1])
                count = count.to(found.device)
            owners = torch.tensor([index for index, _ in part], device=found.device)
            total.index_add_(0, owners, found)
            count.index_add_(0, owners, torch.ones_like(owners, dtype=count.dtype))
    if total is None:
        raise ValueError("there are no images to classify")
    return total / count[:, None]


def ensemble(members: Sequence[Classify], images: Sequence[Tensor], testing: Testing) -> Tensor:
    """Returns float32[B, K], the mean of the members' probabilities; see `classify_images`."""
    votes = [classify_images(classify, images, testing) for classify in members]
    return torch.stack(votes).mean(dim=0)
