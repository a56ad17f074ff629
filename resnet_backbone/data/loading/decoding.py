"""Reads images with Pillow: turns its errors into DataError, and all its modes into RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_backbone.errors import DataError

UINT16_MAX = 65535
WIDE_MODES = ("I", "F")  # more than 8 bits per channel; "I;16" and its byte orders as well


@contextmanager
def pillow_errors(name: str) -> Iterator[None]:
    """Turns any error in reading an image into a DataError that begins with `name`."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: more pixels than Pillow allows: {error}") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image, or of an unknown format") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read this file") from None
    # Decoders raise many types of errors on damaged data: OSError, SyntaxError, struct.error,
    # zlib.error, TypeError, ...
    except Exception as error:
        raise DataError(f"{name}: damaged or truncated: {error}") from error


def refuse_too_large(width: int, height: int, max_pixels: int, name: str) -> None:
    """Raises DataError if an image has more than `max_pixels`, according to its header."""
    if width * height > max_pixels:
        raise DataError(
            f"{name}: {width} x {height} pixels are more than data.max_pixels allows ({max_pixels})"
        )


def open_image(stream: BinaryIO) -> Image.Image:
    """Reads the header, without Pillow's warning about large images; `max_pixels` limits them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(stream)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Returns uint8[H, W, 3] for an image in any mode, see `read_image`."""
    if image.mode in WIDE_MODES or image.mode.startswith("I;16"):
        return np.repeat(_narrowed(image)[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _narrowed(image: Image.Image) -> np.ndarray:
    """Returns uint8[H, W], the single wide channel scaled so that `low` is 0 and `high` is 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= UINT16_MAX:
        low, high = 0.0, float(UINT16_MAX)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)
