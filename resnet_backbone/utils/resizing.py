"""Resizing and cropping of uint8 images as torchvision does it, without its import."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Interpolation = Literal["bilinear", "bicubic"]


def resize(image: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """Returns uint8[3, *size], pixels averaged as they shrink, in memory row by row of RGB."""
    if size == tuple(image.shape[1:]):
        return image
    # A part of an image is copied first: torch resizes gapless RGB rows twice as fast.
    pixels = image[None].contiguous(memory_format=torch.channels_last)
    resized: Tensor = F.interpolate(
        pixels, size, mode=interpolation, antialias=True, align_corners=False
    )
    return resized[0]


def resize_short_side(image: Tensor, side: int, interpolation: Interpolation) -> Tensor:
    """Returns uint8[3, h, w] whose shorter side is `side`, the longer one cut to whole pixels."""
    height, width = image.shape[1:]
    short = min(height, width)
    return resize(image, (int(side * height / short), int(side * width / short)), interpolation)


def centre_crop(image: Tensor, size: int) -> Tensor:
    """Returns uint8[3, size, size], the middle, halves of a pixel rounded to even."""
    top, left = (round((extent - size) / 2.0) for extent in image.shape[1:])
    return crop(image, top, left, size)


def crop(image: Tensor, top: int, left: int, size: int) -> Tensor:
    """Returns the square uint8[3, size, size], with zeros where it leaves the image."""
    height, width = image.shape[1:]
    sides = (max(0, -left), max(0, left + size - width))
    ends = (max(0, -top), max(0, top + size - height))
    if any((*sides, *ends)):
        image = F.pad(image, (*sides, *ends))
        top, left = max(0, top), max(0, left)
    return image[:, top : top + size, left : left + size]
