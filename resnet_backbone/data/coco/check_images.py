"""Looks at the headers of all images before training, and says what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_backbone.data.coco.annotations import Annotations
from resnet_backbone.data.coco.image_sizes import describe_other_sizes
from resnet_backbone.data.coco.records import ImageRecord
from resnet_backbone.data.loading.bit_depth import find_bit_depth
from resnet_backbone.data.loading.decoding import BitDepth
from resnet_backbone.data.loading.headers import (
    ExifPolicy,
    ImageHeader,
    read_all,
    read_file_header,
    refuse_other_size,
)
from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import count_of, refuse_all

# Defects that leave an annotation as it is, or nearly so.
NO_LOSS = ("box clipped", "short polygon", "unused category")


@dataclass(frozen=True)
class CheckedImages:
    """What the headers of a split's images say.

    Attributes:
        skipped: One line per image that cannot be used.
        notes: Lines for the log.
        bit_depth: How many bits of 16 are used.
    """

    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bit_depth: BitDepth = "auto"


# Without the headers, images of 16 bits are taken by the range of their type, all alike.
UNCHECKED = CheckedImages(bit_depth=16)


def check_images(
    file: Path,
    folder: Path,
    records: Sequence[ImageRecord],
    *,
    exif: ExifPolicy,
    max_pixels: int,
    skip: bool,
    bit_depth: BitDepth = "auto",
) -> CheckedImages:
    """Reads the header of each image, and compares its size with the annotations.

    What is refused here is what `read_image` would refuse later, in the same words.

    Args:
        file: The annotation file, for messages.
        folder: The folder of the images.
        records: The images.
        exif: See `read_image`.
        max_pixels: Images with more pixels are refused.
        skip: Whether to list images that cannot be used instead of raising an error.
        bit_depth: How many bits of 16 are used; "auto" is that of these images.

    Raises:
        DataError: images cannot be used and `skip` is false, or none can be used.
    """
    other_sizes: list[tuple[ImageRecord, ImageHeader]] = []

    def read(index: int) -> ImageHeader:
        record = records[index]
        path, size = folder / record.file_name, (record.height, record.width)
        header = read_file_header(path, max_pixels=max_pixels)
        if path.suffix.lower() == ".png" and header.stored != size:
            # The EXIF block of a PNG may follow its pixels.
            header = read_file_header(path, max_pixels=max_pixels, quick=False)
        try:
            refuse_other_size(header, exif, size, str(path))
        except DataError:
            other_sizes.append((record, header))
            raise
        return header

    found = read_all(len(records), read, f"headers of {file.name}")
    errors = [str(header) for header in found if isinstance(header, DataError)]
    if errors and (not skip or len(errors) == len(records)):
        advice = "data.on_bad_sample=skip leaves them out"
        if 2 * len(other_sizes) > len(records):
            advice = describe_other_sizes(other_sizes)
        elif len(errors) == len(records):
            advice = "there is none that can be read"
        raise DataError(refuse_all(str(file), errors, len(records), "image", advice))
    headers = [None if isinstance(header, DataError) else header for header in found]
    wide = [
        str(folder / record.file_name)
        for record, header in zip(records, headers, strict=True)
        if header is not None and header.wide
    ]
    depth, notes = find_bit_depth(
        wide,
        lambda index: open(wide[index], "rb"),
        len(records),
        max_pixels=max_pixels,
        chosen=bit_depth,
    )
    notes += _notes(records, headers, exif)
    if errors:
        total = count_of(len(records), "image")
        notes.append(f"{len(errors)} of {total} cannot be used and are left out")
    return CheckedImages(tuple(errors), tuple(notes), depth)


def nothing_left(annotations: Annotations, with_masks: bool) -> str:
    """Returns the end of a sentence: why there are no instances, with counts and what to do."""
    reasons = Counter(defect.kind for defect in annotations.report.dropped)
    reasons = Counter({kind: n for kind, n in reasons.items() if kind not in NO_LOSS})
    if crowds := int(annotations.crowd.sum()):
        reasons["crowd region"] = crowds
    if not reasons:
        return ": the file has no annotations of its images"
    counts = ", ".join(f"{count} x {kind}" for kind, count in reasons.most_common())
    needs_outlines = with_masks and reasons["no outline"]
    advice = "; model.mask=false trains on boxes alone" if needs_outlines else ""
    if crowds:
        advice += "; single objects need iscrowd 0"
    return f"; left out were {counts}{advice}"


def _notes(
    records: Sequence[ImageRecord], headers: Sequence[ImageHeader | None], exif: ExifPolicy
) -> list[str]:
    pairs = [(r, h) for r, h in zip(records, headers, strict=True) if h is not None]
    stored = sum(
        header.changes_size and header.stored == (record.height, record.width)
        for record, header in pairs
    )
    notes = []
    if stored and exif == "auto":
        notes.append(
            f"{stored} of {count_of(len(records), 'image')} are to be turned by their EXIF "
            "orientation, but the annotations have their size as stored, and so they are not "
            "turned. If the boxes were drawn on the upright pictures, as most tools show them, set "
            "data.exif=apply; data.exif=ignore says that they were not"
        )
    either = sum(header.turns and not header.changes_size for _, header in pairs)
    if either and exif == "auto":
        notes.append(
            f"{either} of {count_of(len(records), 'image')} are turned by their EXIF orientation, "
            "though their size does not tell whether the boxes were drawn so, as in most tools; "
            "data.exif=ignore says that they were not"
        )
    if deep := sum(header.deep for _, header in pairs):
        notes.append(
            f"{deep} of {count_of(len(records), 'image')} have 16 bits per colour channel, of "
            "which the upper 8 are read; if they use fewer bits they look black: convert them to 8 "
            "bits"
        )
    return notes
