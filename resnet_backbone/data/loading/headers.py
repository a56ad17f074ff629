"""The headers of image files: size, orientation and bit depth, of many files at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn, TypeVar

from PIL import Image
from tqdm import tqdm

from resnet_backbone.data.loading.decoding import (
    MAX_PIXELS,
    is_wide,
    largest_value,
    open_image,
    pillow_errors,
)
from resnet_backbone.data.loading.file_end import has_its_end
from resnet_backbone.errors import DataError

ExifPolicy = Literal["auto", "apply", "ignore"]
T = TypeVar("T")

ORIENTATION_TAG = 0x0112
TRANSPOSING = (5, 6, 7, 8)  # orientations that swap width and height

# Reading headers waits for the disk or the network most of the time.
THREADS = min(32, 4 * (os.cpu_count() or 1))
CHUNK = 64  # files that a thread reads in a row


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image says.

    Attributes:
        height: Height in pixels, as stored.
        width: Width in pixels, as stored.
        orientation: The EXIF orientation, 1 if there is none.
        wide: Whether its single channel has more than 8 bits.
        deep: Whether its colour channels have more than 8 bits, of which Pillow reads the upper 8.
    """

    height: int
    width: int
    orientation: int
    wide: bool
    deep: bool = False

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width), as stored."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the EXIF orientation is applied."""
        return (self.width, self.height) if self.transposes else self.stored

    @property
    def transposes(self) -> bool:
        """Whether the EXIF orientation swaps width and height."""
        return self.orientation in TRANSPOSING

    @property
    def changes_size(self) -> bool:
        """Whether the size tells if the EXIF orientation was applied."""
        return self.transposes and self.width != self.height

    @property
    def turns(self) -> bool:
        """Whether the EXIF orientation turns or mirrors the image."""
        return 2 <= self.orientation <= 8


def header_of(image: Image.Image, *, quick: bool = False) -> ImageHeader:
    """Returns the header of an opened image.

    Args:
        image: Its pixels need not have been read.
        quick: Do not look for an EXIF block behind the pixels of a PNG, which means to decode them.
    """
    has_exif = not quick or image.format != "PNG" or "exif" in image.info
    orientation = image.getexif().get(ORIENTATION_TAG, 1) if has_exif else 1
    width, height = image.size
    if image.format == "TIFF" and orientation in TRANSPOSING:  # Pillow gives the upright size
        width, height = height, width
    # The names of raw modes, as "RGB;16B", are among the decoder's arguments.
    deep = len(image.getbands()) > 1 and ";16" in str(getattr(image, "tile", ""))
    return ImageHeader(height, width, orientation, is_wide(image), deep)


def must_rotate(exif: ExifPolicy, header: ImageHeader, size: tuple[int, int] | None) -> bool:
    """Returns whether the EXIF orientation is to be applied.

    Args:
        exif: See `read_image`.
        header: The image's header.
        size: The (height, width) in the annotations, or None.
    """
    if exif == "auto" and size is not None and header.transposes:
        square = header.height == header.width
        return square or header.stored != size
    return exif != "ignore"


def refuse_other_size(
    header: ImageHeader, exif: ExifPolicy, size: tuple[int, int] | None, name: str
) -> None:
    """Raises DataError if an image does not have the (height, width) in the annotations."""
    found = header.upright if must_rotate(exif, header, size) else header.stored
    if size is not None and found != size:
        raise DataError(
            f"{name}: {found[1]} x {found[0]} pixels, but the annotations say {size[1]} x {size[0]}"
            f" (data.exif is {exif})"
        )


def read_image_header(
    stream: BinaryIO, name: str, *, max_pixels: int = MAX_PIXELS, quick: bool = True
) -> ImageHeader:
    """Returns the header of an image file.

    The pixels are decoded only if the file does not end as its format says, to tell whether it is
    truncated or has further bytes behind its end.

    Args:
        stream: The file.
        name: Its name in messages.
        max_pixels: Images with more pixels are rejected.
        quick: See `header_of`.

    Raises:
        DataError: it is not an image, damaged at its beginning or end, or too large.
    """
    with pillow_errors(name), open_image(stream, name, max_pixels=max_pixels) as image:
        header = header_of(image, quick=quick)
        if not has_its_end(stream, image):
            image.load()
        return header


def read_file_header(
    path: Path, *, max_pixels: int = MAX_PIXELS, quick: bool = True
) -> ImageHeader:
    """Returns the header of an image file.

    Raises:
        DataError: it cannot be read, is not an image, or is too large.
    """
    try:
        with path.open("rb") as stream:
            return read_image_header(stream, str(path), max_pixels=max_pixels, quick=quick)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def read_largest_value(stream: BinaryIO, name: str, *, max_pixels: int = MAX_PIXELS) -> int | None:
    """Returns the largest value of an image of 16 bits; None for any other.

    Raises:
        DataError: it is not an image, damaged, or too large.
    """
    with pillow_errors(name), open_image(stream, name, max_pixels=max_pixels) as image:
        return largest_value(image)


def read_all(count: int, read: Callable[[int], T], description: str) -> list[T | DataError]:
    """Returns `read(0)` to `read(count - 1)`, from several threads; errors in their places.

    A bar shows the progress on a terminal.
    """

    def read_chunk(start: int) -> list[T | DataError]:
        return [_attempt(read, index) for index in range(start, min(start + CHUNK, count))]

    results: list[T | DataError] = []
    with ThreadPoolExecutor(THREADS) as pool, _bar(count, description) as bar:
        for chunk in pool.map(read_chunk, range(0, count, CHUNK)):
            results += chunk
            bar.update(len(chunk))
    return results


def _attempt(read: Callable[[int], T], index: int) -> T | DataError:
    try:
        return read(index)
    except DataError as error:
        return error
    except OSError as error:  # the file has gone meanwhile, or its disk fails
        return DataError(f"cannot be read: {error}")


def _bar(count: int, description: str) -> tqdm[NoReturn]:
    hidden = not sys.stderr.isatty()
    return tqdm(total=count, desc=description, unit="image", delay=1, disable=hidden)
