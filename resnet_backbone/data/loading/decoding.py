"""Reads images with Pillow: turns its errors into DataError, and all its modes into RGB."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_backbone.data.loading.jpeg_header import least_bytes
from resnet_backbone.errors import DataError

# The formats that images may have, whatever their file is called, and the names that image files
# are looked for by. Pillow knows many more formats, and runs Ghostscript on one of them (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
MAX_PIXELS = 50_000_000  # the schemas' default, too: about 200 MB while an image is decoded
WIDE_MODES = ("I", "F")  # more than 8 bits per channel; "I;16" and its byte orders as well
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16
DEFLATE_RATIO = 1032  # what zlib gains at most (zlib.net/zlib_tech.html)

BitDepth = int | Literal["auto"]


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
        raise DataError(
            f"{name}: not an image in one of the formats {', '.join(FORMATS)}"
        ) from None
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


def refuse_too_short(image: Image.Image, stream: BinaryIO, name: str) -> None:
    """Raises DataError if the file cannot hold the pixels of its header.

    Otherwise the decoder would allocate all of them and fill in grey. Formats that can describe any
    number of equal pixels in a few bytes, as WebP can, are not checked.
    """
    place = stream.tell()
    stream.seek(0, os.SEEK_END)
    size = stream.tell()
    stream.seek(place)
    least = _least_bytes(image)
    if size < least:
        raise DataError(
            f"{name}: damaged or truncated: {size} bytes are too few for {image.width} x "
            f"{image.height} pixels, which take {least} or more"
        )


def _least_bytes(image: Image.Image) -> int:
    """Returns a lower bound of the size of a file, from what its header says."""
    tiles = getattr(image, "tile", None) or [("",)]
    codec: str = tiles[0][0]
    pixels, channels = image.width * image.height, len(image.getbands())
    bits = 1 if channels == 1 else 8 * channels  # bilevel images and palettes may have one
    if codec == "jpeg" and (layers := getattr(image, "layer", None)):
        return least_bytes(*image.size, [(layer[1], layer[2]) for layer in layers])
    return {"raw": pixels * bits // 8, "zip": pixels * bits // 8 // DEFLATE_RATIO}.get(codec, 0)


class _WithoutPillowsLimit:
    """Lifts Pillow's own limit of pixels, which is global; `max_pixels` takes its place.

    Threads share it: the first to enter lifts it, and the last to leave restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._before


_WITHOUT_LIMIT = _WithoutPillowsLimit()


def open_image(stream: BinaryIO, name: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads the header of an image in one of `FORMATS`; the pixels are read later.

    Raises:
        DataError: it has more than `max_pixels` pixels, or than the file can hold.
    """
    with _WITHOUT_LIMIT:
        image = Image.open(stream, formats=FORMATS)
    refuse_too_large(image.width, image.height, max_pixels, name)
    refuse_too_short(image, stream, name)
    return image


def is_wide(image: Image.Image) -> bool:
    """Returns whether an image has one channel of more than 8 bits."""
    return image.mode in WIDE_MODES or image.mode.startswith("I;16")


def to_rgb(image: Image.Image, bit_depth: BitDepth = "auto") -> np.ndarray:
    """Returns uint8[H, W, 3] for an image in any mode, see `read_image`."""
    if is_wide(image):
        return np.repeat(_narrowed(image, bit_depth)[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def depth_of(largest: float) -> int:
    """Returns the smallest of `DEPTHS` whose values reach up to `largest`."""
    return next((depth for depth in DEPTHS if largest < 2**depth), DEPTHS[-1])


def largest_value(image: Image.Image) -> int | None:
    """Returns the largest value of a wide image; None if it has no range of 16 bits."""
    if not is_wide(image) or image.mode == "F":
        return None
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    return high if low >= 0 and high < 2 ** DEPTHS[-1] else None


def _narrowed(image: Image.Image, bit_depth: BitDepth) -> np.ndarray:
    """Returns uint8[H, W], the single wide channel scaled so that `low` is 0 and `high` is 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high < 2 ** DEPTHS[-1]:
        depth = depth_of(high) if bit_depth == "auto" else bit_depth
        low, high = 0.0, float(2**depth - 1)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)
