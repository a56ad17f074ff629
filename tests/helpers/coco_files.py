"""COCO-format datasets of a few tiny images, written for a test and broken on purpose by it."""

import copy
import json

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30
SQUARE = [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]

GOOD = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
        {"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
    ],
    "annotations": [
        {
            "id": 10 + image,
            "image_id": image,
            "category_id": category,
            "bbox": [5, 5, 10, 10],
            "area": 100,
            "iscrowd": 0,
            "segmentation": [SQUARE],
        }
        for image, category in ((1, 7), (2, 3))
    ],
    "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
}


def good():
    """A dataset without defects, free to be changed."""
    return copy.deepcopy(GOOD)


def write(root, content, *, images=("a.png", "b.png")):
    """Writes annotations and noise images; returns (annotation file, image folder)."""
    folder = root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in images:
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    file = root / "annotations.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file, folder


def write_many(root, sizes, boxes_per_image=1):
    """Writes one noise image per (height, width), with its boxes; for loaders."""
    folder = root / "images"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    content = good() | {"images": [], "annotations": []}
    for number, (height, width) in enumerate(sizes, start=1):
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
        content["images"].append(
            {"id": number, "file_name": name, "width": width, "height": height}
        )
        for _ in range(boxes_per_image):
            annotation = copy.deepcopy(GOOD["annotations"][0])
            annotation |= {"id": len(content["annotations"]) + 1, "image_id": number}
            content["annotations"].append(annotation)
    file = root / "annotations.json"
    file.write_text(json.dumps(content))
    return file, folder
