"""The reference annotations as COCO's evaluation code wants them, without what would break it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

Record = dict[str, Any]

# A triangle, the smallest polygon; COCO's C code takes 4 numbers for a box and fewer for garbage.
MIN_POLYGON_NUMBERS = 6


@dataclass(frozen=True)
class Truth:
    """The objects to find in all images, as arrays, image after image.

    Attributes:
        image_ids: Ascending; the place of an id is the image's number.
        sizes: (height, width) by number.
        class_count: How many classes there are, whether they have objects or not.
        images: int64[G], ascending; the number of each object's image.
        classes: int64[G].
        boxes: float64[G, 4], COCO's (x, y, width, height).
        areas: float64[G], in pixels, by which COCO sorts objects into sizes.
        crowd: bool[G]; detections inside such a region are neither right nor wrong.
        masks: G RLEs; empty where masks are not judged.
    """

    image_ids: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    class_count: int
    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: list[Record]


def pack_truth(content: Record, *, with_masks: bool) -> Truth:
    """Returns the arrays of what `load_ground_truth` read; classes in the order of categories."""
    images = sorted(content["images"], key=lambda image: image["id"])
    number_of = {image["id"]: number for number, image in enumerate(images)}
    class_of = {category["id"]: number for number, category in enumerate(content["categories"])}
    # Stable: where detections fit two objects equally well, COCO's choice depends on their order.
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
        masks=[_rle(each["segmentation"], *sizes[number]) for each, number in outlines],
    )


def load_ground_truth(
    annotations: Path,
    *,
    categories: Mapping[int, str],
    image_ids: Collection[int],
    leave_out: Collection[int] = (),
) -> Record:
    """Reads an annotation file that the data package has validated before.

    Official COCO files pass through with their meaning unchanged, so that AP equals pycocotools'.
    Beyond that:

    * `area` and `iscrowd`, which other tools often leave out, are filled in;
    * polygons of fewer than three corners are dropped, and an instance left without an outline has
      an empty mask, which no detection can match;
    * instances are renumbered from 1, because the matching takes id 0 for "no match".

    Args:
        annotations: JSON in COCO's format.
        categories: COCO id and name of each class; instances of others are left out.
        image_ids: The images to judge.
        leave_out: Ids of annotations that validation rejected and that C code must not see.

    Returns:
        `images`, `annotations` and `categories` as in the file, restricted to those asked for.
    """
    source = json.loads(annotations.read_text(encoding="utf-8"))
    wanted, rejected = set(image_ids), set(leave_out)
    images = {image["id"]: image for image in source["images"] if image["id"] in wanted}
    instances = [
        _instance(annotation, images[annotation["image_id"]])
        for annotation in source["annotations"]
        if annotation["id"] not in rejected  # asked first: those may lack any other key
        and annotation["image_id"] in images
        and annotation["category_id"] in categories
    ]
    for number, instance in enumerate(instances, start=1):
        instance["id"] = number
    return {
        "images": [_only(image, ("id", "height", "width")) for image in images.values()],
        "annotations": instances,
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
    }


def _instance(annotation: Record, image: Record) -> Record:
    """One annotation with every field that the evaluation reads."""
    outline = _outline(annotation.get("segmentation"), image["height"], image["width"])
    width, height = annotation["bbox"][2:]
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": annotation["bbox"],
        "segmentation": outline,
        "area": annotation.get("area", width * height),
        "iscrowd": int(annotation.get("iscrowd", 0)),
    }


def _outline(segmentation: object, height: int, width: int) -> object:
    """Polygons of three corners or more, or an RLE; an empty mask where there is neither."""
    if isinstance(segmentation, dict):
        return segmentation
    polygons: Sequence[Sequence[float]] = segmentation if isinstance(segmentation, list) else ()
    usable = [polygon for polygon in polygons if len(polygon) >= MIN_POLYGON_NUMBERS]
    return usable or empty_rle(height, width)


def _rle(outline: Record | list[list[float]], height: int, width: int) -> Record:
    """The compressed RLE of polygons, or of an RLE in any form."""
    if isinstance(outline, list):
        return dict(mask_api.merge(mask_api.frPyObjects(outline, height, width)))
    if isinstance(outline["counts"], list):
        return dict(mask_api.frPyObjects(outline, height, width))
    return outline


def empty_rle(height: int, width: int) -> Record:
    """Returns the compressed RLE of a mask without pixels."""
    rle = {"size": [height, width], "counts": [height * width]}
    return dict(mask_api.frPyObjects(rle, height, width))


def _only(record: Record, keys: Sequence[str]) -> Record:
    return {key: record[key] for key in keys}
