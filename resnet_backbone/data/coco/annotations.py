"""A COCO-format annotation file, validated as a whole and packed into a few arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_backbone.data.coco.defects import Defect, DefectReport, counts
from resnet_backbone.data.coco.image_files import ImageFiles
from resnet_backbone.data.coco.image_sizes import count_swapped, find_upright
from resnet_backbone.data.coco.records import ImageRecord, Instance
from resnet_backbone.data.coco.validate import Validator
from resnet_backbone.data.loading.decoding import MAX_PIXELS
from resnet_backbone.data.loading.headers import ExifPolicy
from resnet_backbone.errors import DataError
from resnet_backbone.utils.json_files import read_json


@dataclass(frozen=True)
class Annotations:
    """Images and instances; image i has the instances `first[i]:first[i + 1]` of the other arrays.

    These are arrays rather than Python objects so that worker processes share their memory. Merely
    reading an object writes its reference count and so copies its memory page.

    Attributes:
        class_names: The name of each class.
        category_ids: The COCO category id of each class, ascending, possibly with gaps.
        images: The images in ascending order of id.
        first: int64[I + 1], index of each image's first instance.
        boxes: float32[N, 4], xyxy in pixels, clipped to the image.
        raw_boxes: float64[N, 4], COCO's (x, y, width, height), as in the file.
        areas: float64[N], in pixels, as in the file.
        classes: int64[N].
        crowd: bool[N].
        trainable: bool[N]; the others are crowds, or lack an area or the mask that is needed. The
            evaluation sees all.
        corners: float64[K, 2], (x, y) vertices of all polygons, one polygon after the other.
        polygon_ends: int64[Q], index after each polygon's last vertex.
        instance_polygons: int64[N + 1], index of each instance's first polygon.
        rles: The compressed run-length encoding of each instance that has one, by instance index.
        report: What was dropped.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[ImageRecord, ...]
    first: np.ndarray
    boxes: np.ndarray
    raw_boxes: np.ndarray
    areas: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    trainable: np.ndarray
    corners: np.ndarray
    polygon_ends: np.ndarray
    instance_polygons: np.ndarray
    rles: dict[int, dict[str, Any]]
    report: DefectReport

    def instances(self, image: int) -> np.ndarray:
        """Returns the indices, int64[n], of the instances of an image to train on."""
        numbers = np.arange(self.first[image], self.first[image + 1])
        return numbers[self.trainable[numbers]]

    def segmentation(self, instance: int) -> list[np.ndarray] | dict[str, Any]:
        """Returns the polygons of an instance, each float64[V, 2], or its compressed RLE."""
        if instance in self.rles:
            return self.rles[instance]
        polygons = range(self.instance_polygons[instance], self.instance_polygons[instance + 1])
        starts = [self.polygon_ends[p - 1] if p else 0 for p in polygons]
        return [
            self.corners[start : self.polygon_ends[p]]
            for start, p in zip(starts, polygons, strict=True)
        ]

    def to_coco(
        self, images: Sequence[int], *, trainable: bool = False
    ) -> dict[str, list[dict[str, Any]]]:
        """Returns the content of a COCO-format file with these images, given by their indices.

        It holds what validation has accepted and nothing else: what the evaluation is to see.

        Args:
            images: Indices of images.
            trainable: Whether to leave out instances that cannot be trained on.
        """
        records = [self.images[number] for number in images]
        return {
            "images": [vars(record) for record in records],
            "annotations": [
                self._to_coco(number, record.id)
                for index, record in zip(images, records, strict=True)
                for number in range(self.first[index], self.first[index + 1])
                if self.trainable[number] or not trainable
            ],
            "categories": [
                {"id": key, "name": name}
                for key, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }

    def _to_coco(self, instance: int, image_id: int) -> dict[str, Any]:
        outline = self.segmentation(instance)
        if not isinstance(outline, dict):
            outline = [polygon.ravel().tolist() for polygon in outline]
        return {
            "id": instance + 1,
            "image_id": image_id,
            "category_id": self.category_ids[self.classes[instance]],
            "bbox": self.raw_boxes[instance].tolist(),
            "area": float(self.areas[instance]),
            "iscrowd": int(self.crowd[instance]),
            "segmentation": outline,
        }


def load_annotations(
    file: Path,
    images: Path,
    *,
    with_masks: bool,
    skip_bad_samples: bool = False,
    exif: ExifPolicy = "auto",
    max_pixels: int = MAX_PIXELS,
    annotated: bool = True,
) -> Annotations:
    """Reads, validates and packs an annotation file.

    Args:
        file: JSON in COCO format.
        images: The folder that `file_name` is relative to.
        with_masks: Whether every instance needs a mask; instances without one are dropped.
        skip_bad_samples: Leave out (and count and list) single images and annotations that are
            invalid, instead of raising an error.
        exif: How to treat the EXIF orientation, see `read_image`. With "apply", annotations are of
            the upright pictures even if the file has the size as stored.
        max_pixels: Headers of images with more pixels are not looked at.
        annotated: Whether the file needs a list of annotations, which COCO's test files lack.

    Raises:
        DataError: the file has defects; the message lists them together.
    """
    source = _read(file, annotated=annotated)
    folder = ImageFiles(images)
    validator = Validator(file, folder, with_masks=with_masks, skip=skip_bad_samples)
    categories = validator.categories(source["categories"], source["annotations"])
    records = validator.images(source["images"])
    if exif == "apply":
        upright = find_upright(images, list(records.values()), max_pixels=max_pixels)
        validator.resize(upright)
        records |= upright
    instances = validator.instances(source["annotations"], records, categories)
    if suspicion := _suspicion(validator, images, list(records.values()), max_pixels):
        validator.report.fatal.insert(0, suspicion)  # first: it explains many of the others
    validator.report.raise_if_fatal()
    if not records:
        reasons = counts(validator.report.dropped)
        raise DataError(f"{file}: contains no usable image; left out: {reasons}")
    names = dict(sorted(categories.items()))
    return _pack(names, sorted(records.values(), key=lambda r: r.id), instances, validator.report)


def _read(file: Path, *, annotated: bool) -> dict[str, list[Any]]:
    source = read_json(file)
    if not annotated and isinstance(source, dict):
        source.setdefault("annotations", [])
    keys = ("images", "annotations", "categories")
    missing = [
        key for key in keys if not isinstance(source, dict) or not isinstance(source.get(key), list)
    ]
    if missing:
        raise DataError(
            f"{file}: expected COCO format, that is, an object with the lists {', '.join(keys)};"
            f" missing: {', '.join(missing)}"
        )
    return source


def _suspicion(
    validator: Validator, folder: Path, images: Sequence[ImageRecord], max_pixels: int
) -> Defect | None:
    """Returns why many boxes may be wrong: the images' sizes, or the boxes' or outlines' format."""
    formats, suspicion = validator.formats, validator.suspicion()
    if formats.crossing and (formats.mostly_cross or suspicion or validator.report.fatal):
        swapped = count_swapped(folder, images, max_pixels=max_pixels)
        if swapped:
            detail = f"in {swapped} images looked at, the files have them the other way round"
            return Defect("width and height swapped", "images", detail)
    return suspicion


def _pack(
    categories: dict[int, str],
    images: list[ImageRecord],
    instances: dict[int, list[Instance]],
    report: DefectReport,
) -> Annotations:
    class_of = {category: number for number, category in enumerate(categories)}
    per_image = [instances.get(image.id, []) for image in images]
    flat = [instance for group in per_image for instance in group]
    polygons = [polygon for instance in flat for polygon in instance.polygons]
    return Annotations(
        class_names=tuple(categories.values()),
        category_ids=tuple(categories),
        images=tuple(images),
        first=_ends([len(group) for group in per_image], leading_zero=True),
        boxes=np.array([i.box for i in flat], dtype=np.float32).reshape(-1, 4),
        raw_boxes=np.array([i.raw_box for i in flat], dtype=np.float64).reshape(-1, 4),
        areas=np.array([i.area for i in flat], dtype=np.float64),
        classes=np.array([class_of[i.category_id] for i in flat], dtype=np.int64),
        crowd=np.array([i.crowd for i in flat], dtype=bool),
        trainable=np.array([i.trainable for i in flat], dtype=bool),
        corners=np.concatenate([*polygons, np.empty((0, 2))]),
        polygon_ends=_ends([len(polygon) for polygon in polygons]),
        instance_polygons=_ends([len(i.polygons) for i in flat], leading_zero=True),
        rles={number: i.rle for number, i in enumerate(flat) if i.rle is not None},
        report=report,
    )


def _ends(counts: list[int], leading_zero: bool = False) -> np.ndarray:
    return np.cumsum([0] * leading_zero + counts, dtype=np.int64)
