"""Sizes in the annotations that are not those of the files: swapped, or not turned upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnet_backbone.data.coco.records import ImageRecord
from resnet_backbone.data.loading.headers import ImageHeader, read_all, read_file_header
from resnet_backbone.utils.text import count_of

ALIKE = 0.02  # relative difference of scales, for sizes that were rounded to pixels
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


def describe_other_sizes(pairs: Sequence[tuple[ImageRecord, ImageHeader]]) -> str:
    """Returns what images whose size is not the annotated one may have in common."""
    upright = sum(header.upright == (record.height, record.width) for record, header in pairs)
    if 2 * upright > len(pairs):
        return (
            f"{count_of(upright, 'image')} would have the annotated size if turned by the EXIF "
            "orientation, as data.exif=apply does"
        )
    swapped = sum(header.stored == (record.width, record.height) for record, header in pairs)
    if 2 * swapped > len(pairs):
        return f"in {count_of(swapped, 'image')}, the annotations have width and height swapped"
    scales = [
        (header.upright[1] / record.width, header.upright[0] / record.height)
        for record, header in pairs
    ]
    x, y = (sorted(ratios)[len(ratios) // 2] for ratios in zip(*scales, strict=True))
    alike = sum(abs(a / x - 1) < ALIKE and abs(b / y - 1) < ALIKE for a, b in scales)
    if 2 * alike > len(pairs):
        return (
            f"{alike} have {x:.4g} times the annotated width and {y:.4g} times the height: the "
            "images were resized; scale the annotations, too, or take the original images"
        )
    sizes = {header.upright for _, header in pairs}
    if len(sizes) == 1 and len({(record.height, record.width) for record, _ in pairs}) > 1:
        return "all of them have one size, the annotated ones differ: take the original images"
    return "are these the annotations of other images?"


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
