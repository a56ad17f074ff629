"""Crops of uint8 images for training and testing classifiers; they resize only the cropped part."""

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

# Maps an image uint8[3, H, W] to uint8[3, h, w]; all randomness comes from the generator.
Transform = Callable[[Tensor, np.random.Generator], Tensor]

TRIES = 10  # of RandomResizedCrop, before it falls back to a centre crop


@dataclass(frozen=True)
class Region:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class RegionCrop(ABC):
    """A transform that uses only one region of an image, determined from the image's size.

    Attributes:
        size: Side of the result in pixels.
        interpolation: Interpolation for resizing, the name of a torchvision `InterpolationMode`.
    """

    size: int = 224
    interpolation: str = field(default="bilinear", kw_only=True)

    @abstractmethod
    def region(self, height: int, width: int, rng: np.random.Generator) -> Region:
        """Draws the region to use in an image of this size."""

    def cut(self, image: Tensor, region: Region) -> Tensor:
        """Crops an image uint8[3, H, W] to `region` and resizes it to uint8[3, size, size]."""
        return resize_region(image, region, self.size, self.interpolation)

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns a random crop, uint8[3, size, size]."""
        return self.cut(image, self.region(image.shape[1], image.shape[2], rng))


@dataclass(frozen=True)
class ScaleJitterCrop(RegionCrop):
    """The paper's crop: resize to a random short side, then crop a random square.

    He et al. 2016, section 3.4, after Simonyan and Zisserman 2015. The position of the square is
    drawn in pixels of the resized image, but only the corresponding region of the original is
    resized. This region is rounded to whole pixels, which moves each edge by less than half a
    pixel.

    Attributes:
        short_side: Range of the short side in pixels, both ends included; at least `size`.
    """

    short_side: tuple[int, int] = (256, 480)

    def region(self, height: int, width: int, rng: np.random.Generator) -> Region:
        """Draws a scale, and a position in the resized image."""
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
    """Inception's crop: a rectangle of random area and aspect ratio (Szegedy et al. 2015, sec. 6).

    Sampled as in torchvision's RandomResizedCrop: up to `TRIES` times, then the largest centred
    rectangle with an allowed aspect ratio.

    Attributes:
        area: Range of the area, as fraction of the image.
        ratio: Range of width / height; its logarithm is uniformly distributed.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def region(self, height: int, width: int, rng: np.random.Generator) -> Region:
        """Draws a rectangle of whole pixels inside an image of this size."""
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
    """A centre crop of the resized image, for testing.

    Attributes:
        resize: Short side of the resized image in pixels.
        size: Side of the square in pixels, at most `resize`.
        interpolation: Interpolation for resizing, the name of a torchvision `InterpolationMode`.
    """

    resize: int = 256
    size: int = 224
    interpolation: str = "bilinear"

    def __call__(self, image: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """Returns uint8[3, size, size]; not random.

        The whole image is resized rather than only the square, to reproduce torchvision's Resize
        and CenterCrop to the bit: the results are compared with published ones.
        """
        mode = InterpolationMode(self.interpolation)
        return F.center_crop(F.resize(image, [self.resize], mode, antialias=True), [self.size])


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors the image left to right.

    Attributes:
        probability: Probability of mirroring.
    """

    probability: float = 0.5

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns the image or its mirror image, uint8[3, H, W]."""
        return image.flip(2) if rng.random() < self.probability else image


def resize_region(image: Tensor, region: Region, size: int, interpolation: str) -> Tensor:
    """Returns a region of an image, resized with antialiasing, as uint8[3, size, size].

    Args:
        image: uint8[3, H, W].
        region: The region, inside the image.
        size: Side of the result in pixels.
        interpolation: The name of a torchvision `InterpolationMode`.
    """
    rows = slice(region.top, region.top + region.height)
    columns = slice(region.left, region.left + region.width)
    # Copied, because torch resizes contiguous RGB rows twice as fast as a slice of an image.
    part = image[None, :, rows, columns].contiguous(memory_format=torch.channels_last)[0]
    return F.resize(part, [size, size], InterpolationMode(interpolation), antialias=True)


def _whole(first: float, length: float, limit: int) -> tuple[int, int]:
    begin = min(round(first), limit - 1)
    return begin, min(max(begin + 1, round(first + length)), limit)
