"""Reads the ground truth for COCO's evaluation code, without what would break it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

Record = dict[str, Any]

# A triangle, the smallest polygon; COCO's C code takes 4 numbers for a box and fewer for garbage.
MIN_POLYGON_NUMBERS = 6


@dataclass(frozen=True)
class Truth:
    """The ground-truth objects of all images, as arrays, one image after the other.

    Attributes:
        image_ids: The image ids, ascending; the images' indices below refer to this order.
        sizes: (height, width) of each image.
        class_count: Number of classes, including those without objects.
        images: int64[G], ascending; index of each object's image.
        classes: int64[G].
        boxes: float64[G, 4], COCO's (x, y, width, height).
        areas: float64[G], in pixels; COCO's size classes depend on it.
        crowd: bool[G]; detections inside such a region are neither right nor wrong.
        masks: The RLE of each object, None for one without an outline; empty if masks are not
            evaluated.
    """

    image_ids: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    class_count: int
    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: list[Record | None]

    @property
    def outlined(self) -> np.ndarray:
        """bool[G], true for objects that have an outline; needs masks."""
        return np.array([mask is not None for mask in self.masks], dtype=bool)

    @property
    def outlines(self) -> list[Record]:
        """The RLEs of the objects that have an outline."""
        return [mask for mask in self.masks if mask is not None]

    def for_task(self, task: str) -> Truth:
        """Returns the objects of a task: "bbox" has all of them, "segm" those with an outline."""
        if task != "segm" or self.outlined.all():
            return self
        kept = self.outlined
        return replace(
            self,
            images=self.images[kept],
            classes=self.classes[kept],
            boxes=self.boxes[kept],
            areas=self.areas[kept],
            crowd=self.crowd[kept],
            masks=[*self.outlines],
        )


def pack_truth(content: Record, *, with_masks: bool) -> Truth:
    """Returns selected ground truth as arrays; classes have the categories' order."""
    images = sorted(content["images"], key=lambda image: image["id"])
    number_of = {image["id"]: number for number, image in enumerate(images)}
    class_of = {category["id"]: number for number, category in enumerate(content["categories"])}
    # A stable sort: if a detection fits two objects equally well, COCO's choice depends on their
    # order.
    objects = sorted(content["annotations"], key=lambda each: number_of[each["image_id"]])
    sizes = tuple((image["height"], image["width"]) for image in images)
    numbers = [number_of[each["image_id"]] for each in objects]
    outlines = zip(objects, numbers, strict=True) if with_masks else ()
    return Truth(
        image_ids=tuple(number_of),
        sizes=sizes,
        class_count=len(class_of),
        images=np.array(numbers, dtype=np.int64),
        classes=np.array([class_of[each["category_id"]] for each in objects], dtype=np.int64),
        boxes=np.array([each["bbox"] for each in objects], dtype=np.float64).reshape(-1, 4),
        areas=np.array([each["area"] for each in objects], dtype=np.float64),
        crowd=np.array([each["iscrowd"] for each in objects], dtype=bool),
        masks=[
            each["segmentation"] and _rle(each["segmentation"], *sizes[number])
            for each, number in outlines
        ],
    )


def select_ground_truth(
    source: Record, *, categories: Mapping[int, str], image_ids: Collection[int]
) -> Record:
    """Returns the annotations to evaluate on, of those that the data package has checked.

    The meaning of official COCO files is unchanged, so that AP equals pycocotools'. In other files

    * a missing `area` or `iscrowd` is filled in;
    * polygons with fewer than three corners are dropped, and an instance that is left without an
      outline has the segmentation None;
    * instances are renumbered from 1, because for COCO's matching id 0 means "no match".

    Args:
        source: Annotations in COCO format; C code gets what is in them.
        categories: COCO id and name of each class; instances of other categories are left out.
        image_ids: The images to evaluate on.

    Returns:
        `images`, `annotations` and `categories` as in `source`, restricted to those requested.
    """
    wanted = set(image_ids)
    images = {image["id"]: image for image in source["images"] if image["id"] in wanted}
    instances = [
        _instance(annotation, images[annotation["image_id"]])
        for annotation in source["annotations"]
        if annotation["image_id"] in images and annotation["category_id"] in categories
    ]
    for number, instance in enumerate(instances, start=1):
        instance["id"] = number
    return {
        "images": [_only(image, ("id", "height", "width")) for image in images.values()],
        "annotations": instances,
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
    }


def _instance(annotation: Record, image: Record) -> Record:
    """Returns an annotation with all fields that the evaluation reads."""
    width, height = annotation["bbox"][2:]
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": annotation["bbox"],
        "segmentation": _outline(annotation.get("segmentation")),
        "area": annotation.get("area", width * height),
        "iscrowd": int(annotation.get("iscrowd", 0)),
    }


def _outline(segmentation: object) -> Record | list[list[float]] | None:
    """Returns an RLE, or the polygons with three corners or more; None if there is neither."""
    if isinstance(segmentation, dict):
        return segmentation
    polygons = segmentation if isinstance(segmentation, list) else ()
    return [polygon for polygon in polygons if len(polygon) >= MIN_POLYGON_NUMBERS] or None


def _rle(outline: Record | list[list[float]], height: int, width: int) -> Record:
    """Returns the compressed RLE of polygons, or of an RLE in any form."""
    if isinstance(outline, list):
        return dict(mask_api.merge(mask_api.frPyObjects(outline, height, width)))
    if isinstance(outline["counts"], list):
        return dict(mask_api.frPyObjects(outline, height, width))
    return outline


def _only(record: Record, keys: Sequence[str]) -> Record:
    return {key: record[key] for key in keys}
