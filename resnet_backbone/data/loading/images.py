"""Reads an image file as uint8 RGB pixels, whatever its mode, bit depth or orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.loading.decoding import (
    open_image,
    pillow_errors,
    refuse_too_large,
    to_rgb,
)
from resnet_backbone.errors import DataError

ExifPolicy = Literal["auto", "apply", "ignore"]

ORIENTATION_TAG = 0x0112
TRANSPOSING = (5, 6, 7, 8)  # orientations that swap width and height


def read_image(
    file: Path,
    *,
    size: tuple[int, int] | None = None,
    exif: ExifPolicy = "auto",
    max_pixels: int = 100_000_000,
) -> Tensor:
    """Returns the image as uint8[3, H, W], RGB.

    Grey, palette, CMYK, bilevel and transparent images are converted as Pillow does (transparency
    is dropped). Channels of more than 8 bits are scaled, since Pillow would clip most of their
    values to white: 16-bit integers by the range of their type (65535 becomes 255); floats, and
    integers outside of that range, by the range of the values in the image.

    Args:
        file: The image file.
        size: The (height, width) in the annotations, which is checked; None if unknown.
        exif: Whether to apply the EXIF orientation. "auto" applies it unless only the stored image
            has the annotated size; if both sizes fit or `size` is None it is applied, since
            annotators see the rotated image.
        max_pixels: Images with more pixels are rejected after reading the header only.

    Raises:
        DataError: the file is missing, unreadable, too large, or not of the annotated size.
    """
    if not file.exists():
        raise DataError(f"{file}: no such image")
    if not file.is_file():
        raise DataError(f"{file}: not a regular file")
    pixels, orientation = _decode(file, max_pixels)
    if _must_rotate(exif, orientation, pixels.shape[:2], size):
        pixels = _rotated(pixels, orientation)
    if size is not None and pixels.shape[:2] != size:
        raise DataError(
            f"{file}: {pixels.shape[1]} x {pixels.shape[0]} pixels, but the annotations say"
            f" {size[1]} x {size[0]} (data.exif is {exif})"
        )
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _decode(file: Path, max_pixels: int) -> tuple[np.ndarray, int]:
    """Returns uint8[H, W, 3] as stored, and the EXIF orientation, 1 if there is none."""
    # Pillow gets a stream because it would memory-map a file given by name, and then misread the
    # rows of raw TIFFs whose orientation swaps the sides (seen in Pillow 13.0.0).
    with pillow_errors(str(file)), file.open("rb") as stream, open_image(stream) as image:
        refuse_too_large(image.width, image.height, max_pixels, str(file))
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        pixels = to_rgb(image)
    if image.format == "TIFF":  # Pillow has already rotated these; undo it
        pixels = _rotated(pixels, {6: 8, 8: 6}.get(orientation, orientation))
    return pixels, orientation


def _must_rotate(
    exif: ExifPolicy, orientation: int, stored: tuple[int, ...], size: tuple[int, int] | None
) -> bool:
    if exif == "auto" and size is not None and orientation in TRANSPOSING:
        square = stored[0] == stored[1]
        return square or stored != size
    return exif != "ignore"


def _rotated(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (EXIF 2.3, table 4: the corner that row 0 and column 0 are)."""
    if orientation in TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
