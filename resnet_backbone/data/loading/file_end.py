"""Tells by the last bytes of an image file whether it may be truncated."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from PIL import Image

# The last bytes of a complete file: JPEG's marker EOI, PNG's empty chunk IEND with its checksum,
# GIF's trailer.
ENDS = {
    "JPEG": b"\xff\xd9",
    "MPO": b"\xff\xd9",
    "PNG": b"\x00\x00\x00\x00IEND\xaeB`\x82",
    "GIF": b"\x3b",
}
# Where the header has the size of the file, and how many bytes more there are.
SIZES = {"BMP": (2, 0), "WEBP": (4, 8)}
# TIFF's tags for the places of strips or tiles, and for their lengths, in bytes (TIFF 6.0).
STRIPS, TILES = (273, 279), (324, 325)


def has_its_end(stream: BinaryIO, image: Image.Image) -> bool:
    """Returns whether a file ends as its format says, from a few bytes and the header.

    A file without may be complete all the same, as decoders ignore bytes behind its end. Formats
    that do not mark their end are taken as complete.

    Args:
        stream: The file; its position is kept.
        image: The image that was opened from it.
    """
    place = stream.tell()
    try:
        size = stream.seek(0, os.SEEK_END)
        if image.format in ENDS:
            end = ENDS[image.format]
            stream.seek(max(0, size - len(end)))
            return stream.read() == end
        return size >= _least_size(stream, image)
    finally:
        stream.seek(place)


def _least_size(stream: BinaryIO, image: Image.Image) -> int:
    """Returns the size in bytes that the header announces, 0 if it does not."""
    if image.format in SIZES:
        place, more = SIZES[image.format]
        stream.seek(place)
        return more + int.from_bytes(stream.read(4), "little")
    tags: Any = getattr(image, "tag_v2", {})
    return max(
        (
            start + length
            for places, lengths in (STRIPS, TILES)
            for start, length in zip(tags.get(places, ()), tags.get(lengths, ()), strict=False)
        ),
        default=0,
    )
