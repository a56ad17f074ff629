"""The reference annotations as COCO's evaluation code wants them, without what would break it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_api

Record = dict[str, Any]

# A triangle, the smallest polygon; COCO's C code takes 4 numbers for a box and fewer for garbage.
MIN_POLYGON_NUMBERS = 6


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


def empty_rle(height: int, width: int) -> Record:
    """Returns the compressed RLE of a mask without pixels."""
    rle = {"size": [height, width], "counts": [height * width]}
    return dict(mask_api.frPyObjects(rle, height, width))


def _only(record: Record, keys: Sequence[str]) -> Record:
    return {key: record[key] for key in keys}
