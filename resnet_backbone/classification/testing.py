"""Testing of classifiers on ten crops, or on whole images at several scales.

A single centre crop needs nothing from here: the data loader cuts it.

Views stay uint8 until the classifier normalises them. Averages over the views of an image, and over
the members of an ensemble, are averages of softmax probabilities.
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
MAX_VIEWS = 64  # per forward pass

# Maps uint8[n, 3, h, w] to logits float[n, K].
Classify = Callable[[Tensor], Tensor]


class Testing(Protocol):
    """A method of testing: which views of an image are classified."""

    def views(self, image: Tensor) -> list[Tensor]:
        """Returns the views of an image uint8[3, H, W], each uint8[3, h, w]."""


@dataclass(frozen=True)
class TenCrop:
    """The four corners, the centre, and their mirror images (Krizhevsky et al. 2012, section 4.1).

    Attributes:
        resize: Short side of the image in pixels before cropping.
        size: Side of the crops in pixels.
        interpolation: Interpolation for resizing, the name of a torchvision `InterpolationMode`.
    """

    resize: int = 256
    size: int = 224
    interpolation: str = "bilinear"

    def views(self, image: Tensor) -> list[Tensor]:
        """Returns top left, top right, bottom left, bottom right, centre; then their mirrors."""
        mode = InterpolationMode(self.interpolation)
        resized = F.resize(image, [self.resize], mode, antialias=True)
        return list(F.ten_crop(resized, [self.size]))


@dataclass(frozen=True)
class MultiScale:
    """The whole image at several scales, each also mirrored.

    "For best results, we adopt the fully-convolutional form ..., and average the scores at multiple
    scales (images are resized such that the shorter side is in {224, 256, 384, 480, 640})" (section
    3.4). A classifier with global average pooling already has that form: averaging the linear
    layer's scores over positions equals applying the linear layer to the average of the features.

    Attributes:
        scales: Short sides in pixels.
        interpolation: Interpolation for resizing, the name of a torchvision `InterpolationMode`.
    """

    scales: Sequence[int] = SCALES
    interpolation: str = "bilinear"

    def views(self, image: Tensor) -> list[Tensor]:
        """Returns two views per scale: the image and its mirror image."""
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
    """Returns the test method called "ten_crop" or "multi_scale".

    Raises:
        ConfigError: there is no such method.
    """
    if name == "ten_crop":
        return TenCrop(resize, size, interpolation)
    if name == "multi_scale":
        return MultiScale(scales, interpolation)
    raise ConfigError(f"testing: got {name!r}, expected ten_crop or multi_scale")


def classify_images(
    classify: Classify, images: Sequence[Tensor], testing: Testing, *, max_views: int = MAX_VIEWS
) -> Tensor:
    """Returns float32[B, K], the mean over each image's views of the class probabilities.

    Args:
        classify: Maps uint8[n, 3, h, w] to logits float[n, K].
        images: B images uint8[3, H, W], which may differ in size.
        testing: The test method, which chooses the views.
        max_views: Maximum number of views per forward pass; all views in a pass have the same size.
    """
    by_size: dict[torch.Size, list[tuple[int, Tensor]]] = defaultdict(list)
    for index, image in enumerate(images):
        for view in testing.views(image):
            by_size[view.shape].append((index, view))
    total: Tensor | None = None  # [B, K] sum of probabilities
    count = torch.zeros(len(images), device=images[0].device if images else None)  # [B] views added
    for group in by_size.values():
        for start in range(0, len(group), max_views):
            part = group[start : start + max_views]
            found = classify(torch.stack([view for _, view in part])).float().softmax(dim=1)
            if total is None:
                total = found.new_zeros(len(images), found.shape[1])
            # [n], the image that each view belongs to
            owners = torch.tensor([index for index, _ in part])
            owners = owners.to(found.device, non_blocking=True)
            total.index_add_(0, owners, found)
            count.index_add_(0, owners, torch.ones_like(owners, dtype=count.dtype))
    if total is None:
        raise ValueError("there are no images to classify")
    return total / count[:, None]


def ensemble(members: Sequence[Classify], images: Sequence[Tensor], testing: Testing) -> Tensor:
    """Returns float32[B, K], the mean of the members' probabilities, see `classify_images`."""
    votes = [classify_images(classify, images, testing) for classify in members]
    return torch.stack(votes).mean(dim=0)
