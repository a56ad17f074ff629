"""The rules for COCO-format files: what is an error, what is dropped, what is clipped.

Errors are values that cannot be intended: ids that do not exist, invalid coordinates, boxes outside
their image. What the official COCO files contain themselves is dropped or clipped, and counted:
boxes without width, boxes that cross the border, polygons with fewer than three vertices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from resnet_backbone.data.coco.box_formats import BORDER_TOLERANCE, BoxFormats
from resnet_backbone.data.coco.categories import read_categories, settle_names
from resnet_backbone.data.coco.defects import Defect, DefectReport
from resnet_backbone.data.coco.identifiers import Identifiers, as_id
from resnet_backbone.data.coco.image_files import ImageFiles, UnusableName
from resnet_backbone.data.coco.outline_boxes import OTHER_OUTLINES, OutlineBoxes
from resnet_backbone.data.coco.records import (
    Box,
    ImageRecord,
    Instance,
    Record,
    Rejected,
    get,
    required,
)
from resnet_backbone.data.coco.repeated import check_repeated
from resnet_backbone.data.coco.segmentation import (
    MAX_OVERSHOOT,
    BadSegmentation,
    bounding_box,
    finite_numbers,
    parse_polygons,
    parse_rle,
)
from resnet_backbone.utils.text import count_of

MANY_CROWDS = 0.05  # part of a file's annotations; in COCO it is 0.012
MAX_PIXELS = 2**31  # COCO's C code counts pixels in 32 bits


class Validator:
    """Checks the three lists of a file, in the order of the methods, and fills `report`.

    Args:
        file: The annotation file, for messages.
        folder: The files in the image folder.
        with_masks: Whether instances without polygons or RLE cannot be trained on.
        skip: Whether to drop single invalid images and annotations instead of raising an error.
            Duplicate ids and invalid categories are always errors, since no single record is at
            fault.

    Attributes:
        report: What was found.
        formats: What the boxes look like.
        outlines: What they look like beside the outlines.
        ids: How ids are written.
    """

    def __init__(self, file: Path, folder: ImageFiles, *, with_masks: bool, skip: bool) -> None:
        self.report = DefectReport(file)
        self.formats = BoxFormats()
        self.outlines = OutlineBoxes([], [])
        self.ids = Identifiers()
        self.folder = folder
        self.with_masks = with_masks
        self.skip = skip
        # Unusable images (None) are included, so that their annotations have a known image id.
        self._images: dict[int, ImageRecord | None] = {}
        self._without_box = 0
        self._named_by_url = 0

    def categories(
        self, records: Iterable[Record], annotations: Iterable[Record]
    ) -> dict[int, str]:
        """Returns the name of each category id, a different one for each."""
        names = read_categories(records, self.ids, self.report)
        self._refuse_text("categories")
        return settle_names(names, annotations, self.report)

    def images(self, records: Iterable[Record]) -> dict[int, ImageRecord]:
        """Returns the usable images by id."""
        usable: dict[int, ImageRecord] = {}
        names: dict[int, object] = {}
        for number, record in enumerate(records):
            raw, name = get(record, "id"), get(record, "file_name") or get(record, "coco_url")
            where = f"image {raw!s:.60} ({name!s:.200})"
            key = self.ids.read(raw, "images")
            if key is None:
                if not isinstance(raw, str):
                    detail = f"got {raw!r:.80}, expected an integer of at least 0"
                    self.report.refuse("bad image id", f"images[{number}]", detail)
                continue
            if key in names:
                self.report.refuse(
                    "duplicate image id", where, f"it is also the id of {names[key]}"
                )
                continue
            names[key] = name
            self._images[key] = None
            try:
                self._images[key] = image = _image(key, record)
                usable[key] = replace(image, file_name=self._file_of(image, record))
            except (Rejected, UnusableName) as refused:
                self._reject(refused, where)
        self._refuse_text("images")
        if not names and not self.ids.text["images"]:
            self.report.refuse("no images", "images", "the list contains no valid image")
        return usable

    def _file_of(self, image: ImageRecord, record: Record) -> str:
        if "file_name" in record:
            return self.folder.find(image.file_name)
        self._named_by_url += 1
        return self.folder.find_by_url(image.file_name)

    def resize(self, images: Mapping[int, ImageRecord]) -> None:
        """Gives images, by id, the size of the upright picture, which their boxes are on."""
        self._images |= images
        if images:
            self.report.notes.append(
                f"turned by EXIF orientation (data.exif=apply), with the size in the annotations: "
                f"{count_of(len(images), 'image')}"
            )

    def instances(
        self,
        records: Iterable[Record],
        images: Mapping[int, ImageRecord],
        categories: Mapping[int, str],
    ) -> dict[int, list[Instance]]:
        """Returns the valid instances of `images`, by image id, in the order of the file."""
        found: list[tuple[int, Instance, str]] = []
        seen: dict[int | str, object] = {}
        for number, record in enumerate(records):
            raw, image_id = get(record, "id"), get(record, "image_id")
            where = f"annotation {raw!s:.60} of image {image_id!s:.60}"
            # Other text than numbers tells annotations apart just as well; nothing else needs it.
            key = raw if isinstance(raw, str) and raw else self.ids.read(raw, "annotations")
            if key is None:
                detail = f"got {raw!r:.80}, expected an integer of at least 0"
                self.report.refuse("bad annotation id", f"annotations[{number}]", detail)
                continue
            if key in seen:
                detail = f"an annotation of image {seen[key]} has the same id"
                self.report.refuse("duplicate annotation id", where, detail)
                continue
            seen[key] = image_id
            try:
                instance = self._instance(record, categories, where)
            except Rejected as rejected:
                self._reject(rejected, where)
                continue
            owner = as_id(image_id)
            if instance is not None and owner is not None and owner in images:
                found.append((owner, instance, where))
        self._refuse_text("image_id")
        self._refuse_text("category_id")
        self._note_crowds([each for _, each, _ in found])
        check_repeated([each[:2] for each in found], images, self.report)
        found = self._with_outlines_in_their_boxes(found, images)
        self._note()
        by_image: dict[int, list[Instance]] = {}
        for owner, instance, _ in found:
            by_image.setdefault(owner, []).append(instance)
        return by_image

    def suspicion(self) -> Defect | None:
        """Returns what is wrong with most boxes or outlines; None if there is no sign of it."""
        defect = (
            self.outlines.other_format()
            or self.formats.suspicion(confirmed=self.outlines.confirm)
            or self.outlines.other_outlines()
        )
        if defect is None or defect.kind != OTHER_OUTLINES:
            return defect
        if self.with_masks:
            return replace(
                defect, detail=f"{defect.detail}; model.mask=false needs the boxes alone"
            )
        self.report.notes.append(f"{defect.detail}. Only the boxes are used (model.mask=false)")
        return None

    def _with_outlines_in_their_boxes(
        self, found: list[tuple[int, Instance, str]], images: Mapping[int, ImageRecord]
    ) -> list[tuple[int, Instance, str]]:
        """Rejects instances whose outline lies elsewhere than their box, if masks are needed."""
        outlined = [n for n, (_, each, _) in enumerate(found) if each.has_box_and_outline]
        owners = [images[found[number][0]] for number in outlined]
        self.outlines = OutlineBoxes(
            [found[number][1] for number in outlined],
            [(image.width, image.height) for image in owners],
        )
        outside = self.outlines.outside
        rejected = {outlined[place] for place in outside.nonzero()[0]} if self.with_masks else set()
        for number in sorted(rejected):
            instance, where = found[number][1:]
            bounds = [round(v, 2) for v in bounding_box(instance.polygons, instance.rle)]
            detail = f"the outline is in {bounds}, and the box is {list(instance.raw_box)}"
            self._reject(Rejected("outline outside its box", detail), where)
        self.report.notes += [
            note for part in (self.formats, self.outlines) if (note := part.note())
        ]
        return [each for number, each in enumerate(found) if number not in rejected]

    def _instance(
        self, record: Record, categories: Mapping[int, str], where: str
    ) -> Instance | None:
        owner, category = required(record, "image_id"), required(record, "category_id")
        image_id = self.ids.read(owner, "image_id")
        category_id = self.ids.read(category, "category_id")
        for value, key in ((owner, image_id), (category, category_id)):
            if isinstance(value, str) and key is None:
                return None  # reported once, with all others
        if image_id is None or image_id not in self._images:
            raise Rejected("unknown image", f"image_id {owner!r:.80} is not in images")
        if category_id is None or category_id not in categories:
            raise Rejected("unknown category", f"category_id {category!r:.80} is not in categories")
        image = self._images[image_id]
        if image is None:
            return None  # without a size there is nothing to check; the image itself is reported
        return self._checked(record, image, category_id, where)

    def _checked(
        self, record: Record, image: ImageRecord, category_id: int, where: str
    ) -> Instance | None:
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise Rejected("bad iscrowd", f"got {crowd!r:.80}, expected 0 or 1")
        area = record.get("area", 0)
        if not finite_numbers([area]) or area < 0:
            raise Rejected("bad area", f"got {area!r:.80}, expected a number of at least 0")
        # Before the box, which may have no area: COCO's evaluation sees such an instance, too.
        try:
            polygons, rle = self._outline(record.get("segmentation"), image, where)
        except BadSegmentation as error:
            raise Rejected("bad segmentation", str(error)) from error
        raw_box = self._raw_box(record, polygons, rle)
        if min(raw_box[2:]) >= 0:
            self.formats.add(raw_box, image.width, image.height, record.get("area"))
        box = self._box(raw_box, image, where)
        trainable = True
        if box[2] <= box[0] or box[3] <= box[1]:
            self.report.drop("box without area", where, _describe(raw_box, image))
            trainable = False
        elif self.with_masks and not crowd and rle is None and not polygons:
            self.report.drop("no outline", where, "there is no usable polygon or RLE")
            trainable = False
        width, height = raw_box[2:]
        area = float(record.get("area", width * height))
        return Instance(
            box, raw_box, area, category_id, bool(crowd), trainable and not crowd, polygons, rle
        )

    def _raw_box(
        self, record: Record, polygons: Sequence[np.ndarray], rle: dict[str, Any] | None
    ) -> Box:
        """Returns COCO's (x, y, width, height), that of the outline where there is no other."""
        numbers: Any = record.get("bbox")
        if (numbers is None or numbers == []) and (polygons or rle is not None):
            self._without_box += 1
            return bounding_box(polygons, rle)
        if "bbox" not in record:
            raise Rejected("missing key", "there is no key 'bbox', and no outline to take it from")
        if not finite_numbers(numbers) or len(numbers) != 4:
            detail = f"got {numbers!r:.80}, expected four finite numbers x, y, width, height"
            raise Rejected("bad box", detail)
        x, y, width, height = numbers
        return x, y, width, height

    def _box(self, raw_box: Box, image: ImageRecord, where: str) -> Box:
        """Converts COCO's (x, y, width, height) to (x0, y0, x1, y1), clipped to the image."""
        x, y, width, height = raw_box
        found = _describe(raw_box, image)
        if width < 0 or height < 0:
            raise Rejected("negative box", found)
        right, bottom = x + width, y + height
        overshoot = max(-x, -y, right - image.width, bottom - image.height)
        if overshoot > BORDER_TOLERANCE:
            if x >= image.width or y >= image.height or right <= 0 or bottom <= 0:
                raise Rejected("box outside its image", found)
            if overshoot > MAX_OVERSHOOT * max(image.width, image.height):
                raise Rejected("huge box", found)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(right, image.width), min(bottom, image.height)
        # Boxes that cross the border by more than COCO's rounding are clipped too, but also listed.
        if overshoot > BORDER_TOLERANCE and x0 < x1 and y0 < y1:
            self.report.drop("box clipped", where, found)
        return x0, y0, x1, y1

    def _outline(
        self, segmentation: object, image: ImageRecord, where: str
    ) -> tuple[list[np.ndarray], dict[str, Any] | None]:
        if segmentation is None:
            return [], None
        if isinstance(segmentation, dict):
            rle = parse_rle(segmentation, image.height, image.width)
            if coco_mask.area(rle):
                return [], rle
            self.report.drop("empty RLE", where, "no pixel belongs to the object")
            return [], None
        if not isinstance(segmentation, list):
            raise BadSegmentation(f"got {segmentation!r:.60}, expected polygons or an RLE")
        polygons, short = parse_polygons(segmentation, image.height, image.width)
        if short:
            self.report.drop("short polygon", where, f"{short} with fewer than 6 numbers")
        return polygons, None

    def _refuse_text(self, part: str) -> None:
        """Reports ids that are text but no numbers, all at once."""
        if count := self.ids.text[part]:
            detail = (
                f"{count_of(count, 'id')}, such as {self.ids.example[part]!r:.60}; expected "
                "integers: number the images and categories, and refer to these numbers in "
                "image_id and category_id"
            )
            self.report.refuse("ids that are text", part, detail)

    def _note(self) -> None:
        if self.ids.converted:
            parts = ", ".join(f"{count} in {part}" for part, count in self.ids.converted.items())
            self.report.notes.append(
                f"ids written as text or floats were read as integers: {parts}"
            )
        if self._named_by_url:
            count = count_of(self._named_by_url, "image")
            self.report.notes.append(
                f"{count} without file_name; it was taken from coco_url. In LVIS, classes that were"
                " not looked for in an image count as absent from it, in training and in AP"
            )
        if self._without_box:
            count = count_of(self._without_box, "annotation")
            self.report.notes.append(f"{count} without a box; that of the outline was taken")

    def _note_crowds(self, instances: Sequence[Instance]) -> None:
        """Notes that there are more crowds than in COCO; CVAT marks all masks as such."""
        crowds = sum(instance.crowd for instance in instances)
        if crowds > MANY_CROWDS * len(instances):
            self.report.notes.append(
                f"{crowds} of {count_of(len(instances), 'annotation')} have iscrowd 1: they are "
                "neither trained on nor counted as missed, as is right for regions of many "
                "objects; single objects, such as masks drawn in CVAT, need iscrowd 0"
            )

    def _reject(self, refused: Rejected | UnusableName, where: str) -> None:
        tell = self.report.drop if self.skip else self.report.refuse
        tell(refused.kind, where, refused.detail)


def _image(key: int, record: Record) -> ImageRecord:
    url = get(record, "coco_url")  # a name only where there is no other, as in LVIS
    named = "coco_url" if "file_name" not in record and isinstance(url, str) else "file_name"
    name, height, width = (required(record, field) for field in (named, "height", "width"))
    whole = _is_whole(height) and _is_whole(width)
    if not whole or min(height, width) <= 0 or height * width >= MAX_PIXELS:
        found = f"got width {width!r:.40} and height {height!r:.40}"
        detail = f"{found}, expected positive numbers of pixels"
        raise Rejected("bad image size", detail)
    return ImageRecord(key, name, int(height), int(width))


def _describe(box: Box, image: ImageRecord) -> str:
    size = f"{image.width} x {image.height}"
    return f"(x, y, width, height) = {list(box)} in an image of {size}"


def _is_whole(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())
