"""Images as users have them: files, PIL images, arrays, tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from resnet_backbone.data.loading.decoding import (
    FORMATS,
    BitDepth,
    pillow_errors,
    refuse_too_large,
    to_rgb,
)
from resnet_backbone.data.loading.headers import ExifPolicy
from resnet_backbone.errors import DataError

# A file, a PIL image, an RGB array uint8[H, W, 3], or an RGB tensor uint8[3, H, W].
ImageLike = str | Path | Image.Image | np.ndarray | Tensor
ImageList = list[ImageLike] | tuple[ImageLike, ...]

R = TypeVar("R")


def read_pixels(
    image: Image.Image | np.ndarray | Tensor,
    *,
    exif: ExifPolicy,
    max_pixels: int,
    bit_depth: BitDepth,
) -> Tensor:
    """Returns an image that is in memory as uint8[3, H, W], RGB; options as of `read_image`.

    Args:
        image: A PIL image, or RGB pixels as an array uint8[H, W, 3] or a tensor uint8[3, H, W].
        exif: Whether the EXIF orientation of a PIL image is applied.
        max_pixels: PIL images with more pixels are rejected.
        bit_depth: How many bits of 16 are used.

    Raises:
        DataError: it cannot be read, or is none of these.
    """
    if isinstance(image, Image.Image):
        return read_picture(image, exif=exif, max_pixels=max_pixels, bit_depth=bit_depth)
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype == np.uint8:
        # Copied, since tensors support neither read-only arrays nor negative strides.
        return _checked(torch.from_numpy(image.copy()).permute(2, 0, 1), image.shape)
    if isinstance(image, np.ndarray | Tensor):
        return _checked(image, tuple(image.shape))
    raise DataError(
        f"found a {type(image).__name__}, expected an image: a file, a PIL image, an array or a"
        " tensor"
    )


def in_batches(
    images: Sequence[Tensor], predict: Callable[[list[int]], Sequence[R]], limit: int
) -> list[R]:
    """Returns a result for each image; those of one size are predicted together.

    Args:
        images: uint8[3, H, W] each.
        predict: Maps the indices of images of one size to a result for each.
        limit: How many of them at most.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(tuple(image.shape), []).append(index)
    found: dict[int, R] = {}
    for group in groups.values():
        for start in range(0, len(group), limit):
            chosen = group[start : start + limit]
            found |= zip(chosen, predict(chosen), strict=True)
    return [found[index] for index in range(len(images))]


def read_picture(
    image: Image.Image, *, exif: ExifPolicy, max_pixels: int, bit_depth: BitDepth
) -> Tensor:
    """Returns a PIL image as `read_image` would return its file.

    Raises:
        DataError: it is damaged, too large, or was opened from a format that is not read here.
    """
    name = str(getattr(image, "filename", "") or "the image")
    if image.format not in (None, "MPO", *FORMATS):
        raise DataError(f"{name}: not an image in one of the formats {', '.join(FORMATS)}")
    refuse_too_large(image.width, image.height, max_pixels, name)
    with pillow_errors(name):
        upright = image if exif == "ignore" else ImageOps.exif_transpose(image)
        return torch.from_numpy(to_rgb(upright, bit_depth)).permute(2, 0, 1)


def _checked(image: Tensor | np.ndarray, shape: tuple[int, ...]) -> Tensor:
    if (
        isinstance(image, Tensor)
        and image.dtype == torch.uint8
        and image.ndim == 3
        and len(image) == 3
        and image.numel()
    ):
        return image
    raise DataError(
        f"found an image of shape {shape} and type {image.dtype}, expected uint8 pixels in RGB: "
        "[height, width, 3] for an array or [3, height, width] for a tensor"
    )
