"""Crops for training and testing classifiers, on uint8 images; only what is kept is resized."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

# Maps an image uint8[3, H, W] to one uint8[3, h, w]; all randomness comes from the generator.
Transform = Callable[[Tensor, np.random.Generator], Tensor]

TRIES = 10  # of RandomResizedCrop, before it takes the middle


@dataclass(frozen=True)
class Region:
    """A rectangle of an image, in its pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class RegionCrop(ABC):
    """A transform that needs a part of the image only, and knows which from the image's size.

    Attributes:
        size: Side of the result.
        interpolation: How to resize: the name of an `InterpolationMode` of torchvision.
    """

    size: int = 224
    interpolation: str = field(default="bilinear", kw_only=True)

    @abstractmethod
    def region(self, height: int, width: int, rng: np.random.Generator) -> Region:
        """Draws the part of an image of this size."""

    def cut(self, image: Tensor, region: Region) -> Tensor:
        """Returns uint8[3, size, size], that part of an image uint8[3, H, W]."""
        return resize_region(image, region, self.size, self.interpolation)

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns uint8[3, size, size]."""
        return self.cut(image, self.region(image.shape[1], image.shape[2], rng))


@dataclass(frozen=True)
class ScaleJitterCrop(RegionCrop):
    """The paper's: the short side drawn from a range, a square drawn from the resized image.

    He et al. 2016, section 3.4, after Simonyan and Zisserman 2015. The square's place is drawn in
    pixels of the resized image, but only its part of the original is resized: moved and stretched
    to whole pixels, by less than half a one on each side.

    Attributes:
        short_side: First and last of the whole numbers to draw from; not below `size`.
    """

    short_side: tuple[int, int] = (256, 480)

    def region(self, height: int, width: int, rng: np.random.Generator) -> Region:
        """Draws a scale, and a place in the resized image."""
        short, low = min(height, width), self.short_side[0]
        scale = int(rng.integers(low, self.short_side[1] + 1)) / short
        resized = [max(self.size, int(scale * extent)) for extent in (height, width)]
        top, left = (int(rng.integers(extent - self.size + 1)) for extent in resized)
        down, right = height / resized[0], width / resized[1]
        rows = _whole(top * down, self.size * down, height)
        columns = _whole(left * right, self.size * right, width)
        return Region(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])


@dataclass(frozen=True)
class RandomResizedCrop(RegionCrop):
    """Inception's: a rectangle of random area and shape (Szegedy et al. 2015, section 6).

    Drawn as torchvision's RandomResizedCrop draws it: `TRIES` times, then the largest rectangle in
    the middle whose shape is allowed.

    Attributes:
        area: Share of the image to draw from.
        ratio: Width by height to draw from, evenly in its logarithm.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def region(self, height: int, width: int, rng: np.random.Generator) -> Region:
        """Draws a rectangle of whole pixels within an image of this size."""
        low, high = np.log(self.ratio)
        for _ in range(TRIES):
            area = rng.uniform(*self.area) * height * width
            ratio = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
                return Region(int(top), int(left), h, w)
        return self._middle(height, width)

    def _middle(self, height: int, width: int) -> Region:
        h, w = height, width
        if width / height < self.ratio[0]:
            h = max(1, round(width / self.ratio[0]))
        elif width / height > self.ratio[1]:
            w = max(1, round(height * self.ratio[1]))
        return Region((height - h) // 2, (width - w) // 2, h, w)


@dataclass(frozen=True)
class CentreCrop:
    """The middle of the image at a given scale, for testing.

    Attributes:
        resize: Of the short side.
        size: Side of the square; not above `resize`.
        interpolation: How to resize: the name of an `InterpolationMode` of torchvision.
    """

    resize: int = 256
    size: int = 224
    interpolation: str = "bilinear"

    def __call__(self, image: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """Returns uint8[3, size, size]; nothing is drawn.

        The whole image is resized, not the square alone: results are compared with published ones,
        which are of torchvision's Resize and CenterCrop, and these are reproduced to the bit.
        """
        mode = InterpolationMode(self.interpolation)
        return F.center_crop(F.resize(image, [self.resize], mode, antialias=True), [self.size])


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors left and right.

    Attributes:
        probability: Of doing so.
    """

    probability: float = 0.5

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns uint8[3, H, W]."""
        return image.flip(2) if rng.random() < self.probability else image


def resize_region(image: Tensor, region: Region, size: int, interpolation: str) -> Tensor:
    """Returns uint8[3, size, size], the part of an image, resized, pixels averaged as they shrink.

    Args:
        image: uint8[3, H, W].
        region: Within the image.
        size: Side of the result.
        interpolation: The name of an `InterpolationMode` of torchvision.
    """
    rows = slice(region.top, region.top + region.height)
    columns = slice(region.left, region.left + region.width)
    # A copy: torch resizes gapless rows of RGB twice as fast as a part of an image.
    part = image[None, :, rows, columns].contiguous(memory_format=torch.channels_last)[0]
    return F.resize(part, [size, size], InterpolationMode(interpolation), antialias=True)


def _whole(first: float, length: float, limit: int) -> tuple[int, int]:
    begin = min(round(first), limit - 1)
    return begin, min(max(begin + 1, round(first + length)), limit)
