"""Sizes in the annotations that are not those of the files: swapped, or not turned upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnet_backbone.data.coco.records import ImageRecord
from resnet_backbone.data.loading.headers import ImageHeader, read_all, read_file_header

LOOKED_AT = 100  # images, if it is only to find out what is wrong with all of them


def count_swapped(folder: Path, records: Sequence[ImageRecord], *, max_pixels: int) -> int:
    """Returns how many images have width and height swapped in the annotations, 0 if few have.

    Up to `LOOKED_AT` are looked at; those that cannot be read do not count.
    """
    some = records[:: max(1, len(records) // LOOKED_AT)][:LOOKED_AT]

    def is_swapped(index: int) -> bool:
        record = some[index]
        header = read_file_header(folder / record.file_name, max_pixels=max_pixels)
        return header.width != header.height and header.stored == (record.width, record.height)

    swapped = sum(found is True for found in read_all(len(some), is_swapped, "sizes of images"))
    return swapped if 2 * swapped > len(some) else 0


def find_upright(
    folder: Path, records: Sequence[ImageRecord], *, max_pixels: int
) -> dict[int, ImageRecord]:
    """Returns the images, by id, that have their size as stored although EXIF turns them.

    They are returned with the size of the upright picture.
    """

    def read(index: int) -> ImageHeader:
        path = folder / records[index].file_name
        return read_file_header(path, max_pixels=max_pixels)

    headers = read_all(len(records), read, "EXIF orientations")
    return {
        record.id: replace(record, height=record.width, width=record.height)
        for record, header in zip(records, headers, strict=True)
        if isinstance(header, ImageHeader)
        and header.transposes
        and header.stored == (record.height, record.width)
    }
