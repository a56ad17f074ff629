"""The rules for COCO-format files: what is an error, what is dropped, what is clipped.

Errors are values that cannot be intended: ids that do not exist, invalid coordinates, boxes outside
their image. What the official COCO files contain themselves is dropped or clipped, and counted:
boxes without width, boxes that cross the border, polygons with fewer than three vertices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_backbone.data.coco.defects import Defect, DefectReport
from resnet_backbone.data.coco.image_files import ImageFiles
from resnet_backbone.data.coco.segmentation import (
    MAX_OVERSHOOT,
    BadSegmentation,
    finite_numbers,
    parse_polygons,
    parse_rle,
)

Record = Mapping[str, Any]
Box = tuple[float, float, float, float]

# COCO rounds to two decimals, so its boxes cross the border by less than a pixel. Boxes that cross
# it by more are clipped too, but also listed.
BORDER_TOLERANCE = 1.0
# A wrong box format is not obvious from one box. If most boxes cross the border it is likely, given
# at least this many boxes.
ENOUGH_BOXES = 10
MAX_PIXELS = 2**31  # COCO's C code counts pixels in 32 bits
MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class ImageRecord:
    """One image of the file: id, file name relative to the image folder, and size in pixels."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class Instance:
    """One annotation: its box in xyxy pixels, and its polygons or RLE if it has any."""

    box: Box
    category_id: int
    crowd: bool
    polygons: list[np.ndarray]
    rle: dict[str, Any] | None


class Rejected(Exception):
    """Raised by a check to reject one record; holds the defect's kind and detail."""

    def __init__(self, kind: str, detail: str, *, harmless: bool = False) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.harmless = kind, detail, harmless


class Validator:
    """Checks the three lists of a file, in the order of the methods, and fills `report`.

    Args:
        file: The annotation file, for messages.
        folder: The files in the image folder.
        with_masks: Whether to drop instances without polygons or RLE.
        skip: Whether to drop single invalid images and annotations instead of raising an error.
            Duplicate ids and invalid categories are always errors, since no single record is at
            fault.
    """

    def __init__(self, file: Path, folder: ImageFiles, *, with_masks: bool, skip: bool) -> None:
        self.report = DefectReport(file)
        self.folder = folder
        self.with_masks = with_masks
        self.skip = skip
        # Unusable images (None) are included, so that their annotations have a known image id.
        self._images: dict[int, ImageRecord | None] = {}
        self._boxes = self._overrunning = 0

    def categories(self, records: Iterable[Record]) -> dict[int, str]:
        """Returns the name of each category id."""
        names: dict[int, str] = {}
        for number, record in enumerate(records):
            where = f"categories[{number}]"
            key, name = _get(record, "id"), _get(record, "name")
            if not _is_id(key) or not isinstance(name, str):
                detail = f"got {record!r:.80}, expected an integer id of at least 0 and a name"
                self._fatal("bad category", where, detail)
            elif key in names:
                self._fatal("duplicate category id", where, f"{key} is {names[key]!r} and {name!r}")
            elif name in names.values():
                self._fatal("duplicate category name", where, f"{name!r} already has another id")
            else:
                names[key] = name
        if not names:
            self._fatal("no categories", "categories", "the list contains no valid category")
        return names

    def images(self, records: Iterable[Record]) -> dict[int, ImageRecord]:
        """Returns the usable images by id."""
        usable: dict[int, ImageRecord] = {}
        names: dict[int, object] = {}
        for number, record in enumerate(records):
            key, name = _get(record, "id"), _get(record, "file_name")
            where = f"image {key} ({name})"
            if not _is_id(key):
                detail = f"got {key!r}, expected an integer of at least 0"
                self._fatal("bad image id", f"images[{number}]", detail)
                continue
            if key in names:
                self._fatal("duplicate image id", where, f"it is also the id of {names[key]}")
                continue
            names[key] = name
            self._images[key] = None
            try:
                self._images[key] = image = _image(key, record)
                self._check_file(image)
            except Rejected as rejected:
                self._reject(rejected, where)
            else:
                usable[key] = image
        if not names:
            self._fatal("no images", "images", "the list contains no valid image")
        return usable

    def instances(
        self,
        records: Iterable[Record],
        images: Mapping[int, ImageRecord],
        categories: Mapping[int, str],
    ) -> dict[int, list[Instance]]:
        """Returns the valid instances of `images`, by image id, in the order of the file."""
        found: dict[int, list[Instance]] = {}
        seen: dict[int, object] = {}
        for number, record in enumerate(records):
            key, image_id = _get(record, "id"), _get(record, "image_id")
            where = f"annotation {key} of image {image_id}"
            if not _is_id(key):
                detail = f"got {key!r}, expected an integer of at least 0"
                self._fatal("bad annotation id", f"annotations[{number}]", detail)
                continue
            if key in seen:
                detail = f"an annotation of image {seen[key]} has the same id"
                self._fatal("duplicate annotation id", where, detail)
                continue
            seen[key] = image_id
            try:
                instance = self._instance(record, categories, where)
            except Rejected as rejected:
                if not rejected.harmless:
                    self.report.rejected.add(key)
                self._reject(rejected, where)
            else:
                if instance is not None and image_id in images:
                    found.setdefault(record["image_id"], []).append(instance)
        self._suspect_format()
        return found

    def _check_file(self, image: ImageRecord) -> None:
        if refusal := self.folder.refusal(image.file_name):
            raise Rejected(*refusal)

    def _instance(
        self, record: Record, categories: Mapping[int, str], where: str
    ) -> Instance | None:
        image_id, category = _required(record, "image_id"), _required(record, "category_id")
        if not _is_id(image_id) or image_id not in self._images:
            raise Rejected("unknown image", f"image_id {image_id!r} is not in images")
        if not _is_id(category) or category not in categories:
            raise Rejected("unknown category", f"category_id {category!r} is not in categories")
        image = self._images[image_id]
        if image is None:
            return None  # without a size there is nothing to check; the image itself is reported
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise Rejected("bad iscrowd", f"got {crowd!r}, expected 0 or 1")
        area = record.get("area", 0)
        if not finite_numbers([area]) or area < 0:
            raise Rejected("bad area", f"got {area!r}, expected a number of at least 0")
        box = self._box(_required(record, "bbox"), image, where)
        try:
            polygons, rle = self._outline(record.get("segmentation"), image, where)
        except BadSegmentation as error:
            raise Rejected("bad segmentation", str(error)) from error
        if self.with_masks and not crowd and rle is None and not polygons:
            raise Rejected("no outline", "there is no usable polygon or RLE", harmless=True)
        return Instance(box, category, bool(crowd), polygons, rle)

    def _box(self, numbers: list[float], image: ImageRecord, where: str) -> Box:
        """Converts COCO's (x, y, width, height) to (x0, y0, x1, y1), clipped to the image."""
        if not finite_numbers(numbers) or len(numbers) != 4:
            detail = f"got {numbers!r:.80}, expected four finite numbers x, y, width, height"
            raise Rejected("bad box", detail)
        x, y, width, height = numbers
        found = f"(x, y, width, height) = {numbers} in an image of {image.width} x {image.height}"
        if width < 0 or height < 0:
            raise Rejected("negative box", found)
        right, bottom = x + width, y + height
        overshoot = max(-x, -y, right - image.width, bottom - image.height)
        self._boxes += 1
        self._overrunning += overshoot > BORDER_TOLERANCE
        if overshoot > BORDER_TOLERANCE:
            if x >= image.width or y >= image.height or right <= 0 or bottom <= 0:
                raise Rejected("box outside its image", found)
            if overshoot > MAX_OVERSHOOT * max(image.width, image.height):
                raise Rejected("huge box", found)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(right, image.width), min(bottom, image.height)
        if x1 <= x0 or y1 <= y0:
            raise Rejected("box without area", found, harmless=True)
        if overshoot > BORDER_TOLERANCE:
            self.report.dropped.append(Defect("box clipped", where, found))
        return x0, y0, x1, y1

    def _outline(
        self, segmentation: object, image: ImageRecord, where: str
    ) -> tuple[list[np.ndarray], dict[str, Any] | None]:
        if segmentation is None:
            return [], None
        if isinstance(segmentation, dict):
            return [], parse_rle(segmentation, image.height, image.width)
        if not isinstance(segmentation, list):
            raise BadSegmentation(f"got {segmentation!r:.60}, expected polygons or an RLE")
        polygons, short = parse_polygons(segmentation, image.height, image.width)
        if short:
            detail = f"{short} with fewer than 6 numbers"
            self.report.dropped.append(Defect("short polygon", where, detail))
        return polygons, None

    def _suspect_format(self) -> None:
        if self._boxes < ENOUGH_BOXES or 2 * self._overrunning <= self._boxes:
            return
        detail = (
            f"{self._overrunning} of {self._boxes} boxes; are they in the format (x0, y0, x1, y1)?"
            " COCO's format is (x, y, width, height)"
        )
        # Inserted first, because it explains many of the other defects.
        self.report.fatal.insert(0, Defect("boxes cross the border", "annotations", detail))

    def _fatal(self, kind: str, where: str, detail: str) -> None:
        self.report.fatal.append(Defect(kind, where, detail))

    def _reject(self, rejected: Rejected, where: str) -> None:
        harmless = rejected.harmless or self.skip
        defects = self.report.dropped if harmless else self.report.fatal
        defects.append(Defect(rejected.kind, where, rejected.detail))


def _image(key: int, record: Record) -> ImageRecord:
    name, height, width = (_required(record, field) for field in ("file_name", "height", "width"))
    sizes_fit = type(height) is int and type(width) is int and height > 0 and width > 0
    if not sizes_fit or height * width >= MAX_PIXELS:
        detail = f"got width {width!r} and height {height!r}, expected positive numbers of pixels"
        raise Rejected("bad image size", detail)
    return ImageRecord(key, name, height, width)


def _get(record: object, key: str) -> Any:  # noqa: ANN401 - anything that JSON can hold
    return record.get(key) if isinstance(record, dict) else None


def _required(record: Record, key: str) -> Any:  # noqa: ANN401 - anything that JSON can hold
    if key not in record:
        raise Rejected("missing key", f"there is no key {key!r}")
    return record[key]


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID
