"""Reads an image file as uint8 RGB pixels, whatever its mode, bit depth or orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.loading.decoding import (
    MAX_PIXELS,
    BitDepth,
    open_image,
    pillow_errors,
    to_rgb,
)
from resnet_backbone.data.loading.headers import (
    TRANSPOSING,
    ExifPolicy,
    ImageHeader,
    header_of,
    must_rotate,
    refuse_other_size,
)
from resnet_backbone.errors import DataError


def read_image(
    file: Path,
    *,
    size: tuple[int, int] | None = None,
    exif: ExifPolicy = "auto",
    max_pixels: int = MAX_PIXELS,
    bit_depth: BitDepth = "auto",
) -> Tensor:
    """Returns the image as uint8[3, H, W], RGB.

    Grey, palette, CMYK, bilevel and transparent images are converted as Pillow does (transparency
    is dropped). Single channels of more than 8 bits are scaled, since Pillow would clip most of
    their values to white: integers up to 65535 by `bit_depth`; floats, and integers outside of that
    range, by the range of the values in the image.

    Args:
        file: The image file.
        size: The (height, width) in the annotations, which is checked; None if unknown.
        exif: Whether to apply the EXIF orientation. "auto" applies it unless only the stored image
            has the annotated size; if both sizes fit or `size` is None it is applied, since
            annotators see the rotated image.
        max_pixels: Images with more pixels are rejected after reading the header only.
        bit_depth: How many bits of 16 are used: 12 makes 4095 white. "auto" is the smallest even
            number, 8 or more, that holds the image's largest value.

    Raises:
        DataError: the file is missing, unreadable, too large, or not of the annotated size.
    """
    if not file.exists():
        raise DataError(f"{file}: no such image")
    if not file.is_file():
        raise DataError(f"{file}: not a regular file")
    pixels, header = _decode(file, max_pixels, bit_depth)
    refuse_other_size(header, exif, size, str(file))
    if must_rotate(exif, header, size):
        pixels = _rotated(pixels, header.orientation)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _decode(file: Path, max_pixels: int, bit_depth: BitDepth) -> tuple[np.ndarray, ImageHeader]:
    """Returns uint8[H, W, 3] as stored, and the header."""
    name = str(file)
    # Pillow gets a stream because it would memory-map a file given by name, and then misread the
    # rows of raw TIFFs whose orientation swaps the sides (seen in Pillow 13.0.0).
    with (
        pillow_errors(name),
        file.open("rb") as stream,
        open_image(stream, name, max_pixels=max_pixels) as image,
    ):
        header = header_of(image)
        pixels = to_rgb(image, bit_depth)
    if image.format == "TIFF":  # Pillow has already rotated these; undo it
        pixels = _rotated(pixels, {6: 8, 8: 6}.get(header.orientation, header.orientation))
    return pixels, header


def _rotated(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (EXIF 2.3, table 4: the corner that row 0 and column 0 are)."""
    if orientation in TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
