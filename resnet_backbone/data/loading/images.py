"""From an image file to uint8 RGB pixels, whatever the file's mode, depth or orientation."""

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
    """Returns uint8[3, H, W], RGB.

    Grey, palette, CMYK, two-level and transparent images are converted as Pillow does (transparency
    is dropped). Wide channels are scaled, because clipping them, Pillow's way, would make most of
    them white: 16-bit integers by the range of their type (65535 becomes 255), whatever leaves that
    range and floats by the range of their own values.

    Args:
        file: The image.
        size: (height, width) that the annotation file says, to be checked; None where unknown.
        exif: Whether to turn the image as its EXIF orientation says. "auto" does what makes it the
            size that the annotations say; where both would, and where none is known, it turns, as
            the annotators saw it turned.
        max_pixels: Larger images are refused from their header, before a pixel is decoded.

    Raises:
        DataError: missing, unreadable, too large, or of another size than annotated.
    """
    if not file.exists():
        raise DataError(f"{file}: no such image")
    if not file.is_file():
        raise DataError(f"{file}: not a regular file, so not an image")
    pixels, orientation = _decode(file, max_pixels)
    if _must_turn(exif, orientation, pixels.shape[:2], size):
        pixels = _turned(pixels, orientation)
    if size is not None and pixels.shape[:2] != size:
        raise DataError(
            f"{file}: {pixels.shape[1]} x {pixels.shape[0]} pixels, but the annotations say"
            f" {size[1]} x {size[0]} (data.exif is {exif})"
        )
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _decode(file: Path, max_pixels: int) -> tuple[np.ndarray, int]:
    """Returns uint8[H, W, 3] as stored, and the EXIF orientation, 1 where there is none."""
    # A stream, not a name, which lets Pillow map the file into memory: it then misreads rows of raw
    # TIFFs whose orientation swaps the sides (seen in 13.0.0).
    with pillow_errors(str(file)), file.open("rb") as stream, open_image(stream) as image:
        refuse_too_large(image.width, image.height, max_pixels, str(file))
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        pixels = to_rgb(image)
    if image.format == "TIFF":  # Pillow turns these as it loads them
        pixels = _turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))
    return pixels, orientation


def _must_turn(
    exif: ExifPolicy, orientation: int, stored: tuple[int, ...], size: tuple[int, int] | None
) -> bool:
    if exif == "auto" and size is not None and orientation in TRANSPOSING:
        square = stored[0] == stored[1]
        return square or stored != size
    return exif != "ignore"


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns what a viewer shows: EXIF 2.3, table 4 (which corner row 0 and column 0 are)."""
    if orientation in TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
