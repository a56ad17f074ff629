"""The rules for COCO-format files: what is an error, what is dropped, what is clipped.

Errors are what cannot be meant: ids that do not exist, numbers that are no coordinates, boxes that
lie nowhere in their image. Dropped or clipped, and counted, is what official COCO itself holds:
boxes of no width, boxes a little past the border, polygons of fewer than three corners.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from resnet_backbone.data.defects import Defect, DefectReport
from resnet_backbone.data.segmentation import (
    BadSegmentation,
    finite_numbers,
    parse_polygons,
    parse_rle,
)

Record = Mapping[str, Any]

# COCO rounds to two decimals, so its boxes pass the border by less; what passes it by more than a
# pixel is clipped all the same, but listed.
BORDER_TOLERANCE = 1.0


@dataclass(frozen=True)
class ImageRecord:
    """One image of the file: its id, its name below the image folder, and its size in pixels."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class Instance:
    """One annotation: box (x0, y0, x1, y1) in pixels; polygons or an RLE, or neither."""

    box: tuple[float, float, float, float]
    category_id: int
    crowd: bool
    polygons: list[np.ndarray]
    rle: dict[str, Any] | None


class Rejected(Exception):
    """Raised inside a check to leave one record; carries the defect's kind and detail."""

    def __init__(self, kind: str, detail: str, *, harmless: bool = False) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.harmless = kind, detail, harmless


class Validator:
    """Checks the three lists of a file, writing what is wrong into `report`.

    Args:
        file: The annotation file, for messages.
        folder: Where the images are.
        with_masks: Whether an instance without an outline is of no use.
        skip: Whether defects of single images and annotations are dropped instead of fatal.
    """

    def __init__(self, file: Path, folder: Path, *, with_masks: bool, skip: bool) -> None:
        self.report = DefectReport(file)
        self.folder = folder
        self.with_masks = with_masks
        self.skip = skip

    def categories(self, records: Iterable[Record]) -> dict[int, str]:
        """Returns names by id."""
        names: dict[int, str] = {}
        for number, record in enumerate(records):
            where = f"categories[{number}]"
            key, name = _get(record, "id"), _get(record, "name")
            if type(key) is not int or not isinstance(name, str):
                self._fatal("bad category", where, f"needs an integer id and a name, got {record}")
            elif key in names:
                self._fatal("duplicate category id", where, f"{key} is {names[key]!r} and {name!r}")
            else:
                names[key] = name
        if not names:
            self._fatal("no categories", "categories", "the list is empty")
        return names

    def images(self, records: Iterable[Record]) -> dict[int, ImageRecord]:
        """Returns the usable images by id."""
        present = _files_below(self.folder)
        found: dict[int, ImageRecord] = {}
        names: dict[int, object] = {}
        for number, record in enumerate(records):
            key = _get(record, "id")
            where = f"image {key} ({_get(record, 'file_name')})"
            if type(key) is not int:
                self._fatal("bad image id", f"images[{number}]", f"got {key!r}, not an integer")
                continue
            if key in names:
                self._fatal("duplicate image id", where, f"also that of {names[key]}")
                continue
            names[key] = _get(record, "file_name")
            try:
                found[key] = self._image(key, record, present)
            except Rejected as rejected:
                self._reject(rejected, where)
        if not names:
            self._fatal("no images", "images", "the list is empty")
        self._known_images = set(names)
        return found

    def instances(
        self,
        records: Iterable[Record],
        images: Mapping[int, ImageRecord],
        categories: Mapping[int, str],
    ) -> dict[int, list[Instance]]:
        """Returns the usable instances by image id, in the order of the file."""
        found: dict[int, list[Instance]] = {}
        seen: set[int] = set()
        for number, record in enumerate(records):
            key = _get(record, "id")
            where = f"annotation {key} of image {_get(record, 'image_id')}"
            if type(key) is not int:
                where = f"annotations[{number}]"
                self._fatal("bad annotation id", where, f"got {key!r}, not an integer")
                continue
            if key in seen:
                self._fatal("duplicate annotation id", where, "the id stands there twice")
                continue
            seen.add(key)
            try:
                instance = self._instance(record, images, categories, where)
            except Rejected as rejected:
                self.report.rejected.add(key)
                self._reject(rejected, where)
            else:
                if instance is not None:
                    found.setdefault(record["image_id"], []).append(instance)
        return found

    def _image(self, key: int, record: Record, present: set[str]) -> ImageRecord:
        name, height, width = (record.get(field) for field in ("file_name", "height", "width"))
        if type(height) is not int or type(width) is not int or height < 1 or width < 1:
            detail = f"width and height must be positive integers, got {width!r} x {height!r}"
            raise Rejected("bad image size", detail)
        if not isinstance(name, str) or not _stays_inside(name):
            detail = f"file_name {name!r} must be a relative path inside the image folder"
            raise Rejected("file name leaves the image folder", detail)
        if os.path.normpath(name) not in present:
            raise Rejected("missing image file", f"{self.folder / name} is not a file")
        return ImageRecord(key, name, height, width)

    def _instance(
        self,
        record: Record,
        images: Mapping[int, ImageRecord],
        categories: Mapping[int, str],
        where: str,
    ) -> Instance | None:
        image_id, category = record.get("image_id"), record.get("category_id")
        if not isinstance(image_id, int) or image_id not in self._known_images:
            raise Rejected("unknown image", f"image_id {image_id!r} is not in images")
        if not isinstance(category, int) or category not in categories:
            raise Rejected("unknown category", f"category_id {category!r} is not in categories")
        if image_id not in images:
            return None  # the image was left out, and its annotations with it
        image = images[image_id]
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise Rejected("bad iscrowd", f"got {crowd!r}, expected 0 or 1")
        area = record.get("area", 0)
        if not finite_numbers([area]) or area < 0:
            raise Rejected("bad area", f"got {area!r}, expected a number from 0 on")
        box = self._box(record, image, where)
        try:
            polygons, rle = self._outline(record.get("segmentation"), image, where)
        except BadSegmentation as error:
            raise Rejected("bad segmentation", str(error)) from error
        if self.with_masks and not crowd and rle is None and not polygons:
            raise Rejected("no outline", "there is no usable polygon or RLE", harmless=True)
        return Instance(box, category, bool(crowd), polygons, rle)

    def _box(
        self, record: Record, image: ImageRecord, where: str
    ) -> tuple[float, float, float, float]:
        numbers = record.get("bbox")
        if not finite_numbers(numbers) or len(record["bbox"]) != 4:
            raise Rejected("bad box", f"expected four finite numbers x, y, w, h, got {numbers!r}")
        x, y, width, height = record["bbox"]
        if width < 0 or height < 0:
            raise Rejected("negative box", f"width and height are {width} and {height}")
        if x > image.width or y > image.height or x + width < 0 or y + height < 0:
            detail = f"(x, y, w, h) = {numbers} in an image of {image.width} x {image.height}"
            raise Rejected("box outside its image", detail)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + width, image.width), min(y + height, image.height)
        if x1 <= x0 or y1 <= y0:
            raise Rejected("box without area", f"(x, y, w, h) = {numbers}", harmless=True)
        if max(x0 - x, y0 - y, x + width - x1, y + height - y1) > BORDER_TOLERANCE:
            detail = f"{numbers} in an image of {image.width} x {image.height}"
            self.report.dropped.append(Defect("box clipped", where, detail))
        return x0, y0, x1, y1

    def _outline(
        self, segmentation: object, image: ImageRecord, where: str
    ) -> tuple[list[np.ndarray], dict[str, Any] | None]:
        if segmentation is None:
            return [], None
        if isinstance(segmentation, dict):
            return [], parse_rle(segmentation, image.height, image.width)
        if not isinstance(segmentation, list):
            raise BadSegmentation(f"expected polygons or an RLE, got {segmentation!r:.60}")
        polygons, short = parse_polygons(segmentation, image.height, image.width)
        if short:
            detail = f"{short} of fewer than 6 numbers"
            self.report.dropped.append(Defect("short polygon", where, detail))
        return polygons, None

    def _fatal(self, kind: str, where: str, detail: str) -> None:
        self.report.fatal.append(Defect(kind, where, detail))

    def _reject(self, rejected: Rejected, where: str) -> None:
        harmless = rejected.harmless or self.skip
        defects = self.report.dropped if harmless else self.report.fatal
        defects.append(Defect(rejected.kind, where, rejected.detail))


def _get(record: object, key: str) -> object:
    return record.get(key) if isinstance(record, dict) else None


def _stays_inside(name: str) -> bool:
    """Whether a file name can only mean something below the image folder, on any system."""
    if not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not PureWindowsPath(name).drive


def _files_below(folder: Path) -> set[str]:
    """Returns the regular files below `folder`, by relative path.

    One walk instead of a question per image. Links that lead out of the folder, and things that are
    no files (opening a pipe would wait for ever), are left out.
    """
    root = folder.resolve()
    found = set()
    for directory, _, names in os.walk(root):
        for entry in os.scandir(directory) if names else ():
            inside = not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)
            if inside and entry.is_file():
                found.add(os.path.relpath(entry.path, root))
    return found
