"""Detections of many images as arrays, and everyone's way from there to COCO's twelve numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import faster_coco_eval
import hotcoco
import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnet_backbone.evaluation.average_precision import average_precision
from resnet_backbone.evaluation.compact import CompactDetections, join
from resnet_backbone.evaluation.confusion import match_objects
from resnet_backbone.evaluation.ground_truth import Truth
from resnet_backbone.evaluation.mistakes import break_down

HEIGHT, WIDTH = 480, 640
CLASSES = 80
OBJECTS = 7  # per image on average, as in COCO
DETECTIONS = 100  # per image
MOST = 100  # that COCO counts
CORNERS = 16  # of an outline

OURS = "ours"
Record = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """Ground truth and detections of all images, with masks."""

    truth: Truth
    found: dict[int, CompactDetections]


def make_data(images: int, seed: int = 0) -> Data:
    """Returns random ellipses, and detections of which two fifths belong to an object.

    Args:
        images: How many.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(OBJECTS, images)
    boxes = _random_boxes(rng, counts.sum())
    classes = rng.integers(0, CLASSES, counts.sum())
    found, masks, start = {}, [], 0
    for number, count in enumerate(counts):
        own = slice(start, start + count)
        masks += _encode(boxes[own])
        found[number] = _detect(rng, boxes[own], classes[own])
        start += count
    truth = Truth(
        image_ids=tuple(range(images)),
        sizes=((HEIGHT, WIDTH),) * images,
        class_count=CLASSES,
        images=np.repeat(np.arange(images), counts),
        classes=classes,
        boxes=boxes,
        areas=mask_areas(masks),
        crowd=rng.random(len(boxes)) < 0.01,
        masks=masks,
    )
    return Data(truth, found)


def mask_areas(masks: list[Record]) -> np.ndarray:
    """Returns float64[N]; not pycocotools', which fails on more than 255 with numpy 2."""
    return np.asarray(hotcoco.mask.area(masks), dtype=np.float64)


def _random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sizes = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corners = rng.random((count, 2)) * ([WIDTH, HEIGHT] - sizes)
    return np.hstack((corners, sizes))


def _detect(rng: np.random.Generator, boxes: np.ndarray, classes: np.ndarray) -> CompactDetections:
    guesses, named = _random_boxes(rng, DETECTIONS), rng.integers(0, CLASSES, DETECTIONS)
    if len(boxes):
        near = rng.integers(0, len(boxes), DETECTIONS)
        shift = rng.normal(0, 0.12, (DETECTIONS, 4)) * boxes[near][:, [2, 3, 2, 3]]
        jittered = np.maximum(boxes[near] + shift, [0, 0, 1, 1])
        hit = rng.random(DETECTIONS) < 0.4
        guesses = np.where(hit[:, None], jittered, guesses)
        named = np.where(hit & (rng.random(DETECTIONS) < 0.9), classes[near], named)
    masks = [mask["counts"] for mask in _encode(guesses)]
    return CompactDetections((HEIGHT, WIDTH), guesses, rng.random(DETECTIONS), named, masks)


def _encode(boxes: np.ndarray) -> list[Record]:
    """The RLEs of ellipses in these boxes."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    circle = 1 + np.stack((np.cos(angles), np.sin(angles)), axis=1)
    corners = boxes[:, None, :2] + boxes[:, None, 2:] / 2 * circle
    if not len(boxes):
        return []
    return list(mask_api.frPyObjects(corners.reshape(len(boxes), -1).tolist(), HEIGHT, WIDTH))


def by_us(data: Data, task: str) -> np.ndarray:
    """What `CocoEvaluator` does with what it has collected."""
    metrics = average_precision(data.truth, join(data.found, MOST), task).metrics
    return np.array(list(metrics.values()))


def by_us_with_errors(data: Data, task: str) -> np.ndarray:
    """Likewise, with the kinds of errors and the confusion of classes, as it does for users."""
    joined = join(data.found, MOST)
    metrics = average_precision(data.truth, joined, task).metrics
    break_down(data.truth, joined, task)
    if task == "bbox":
        match_objects(data.truth, joined)
    return np.array(list(metrics.values()))


def by_hotcoco(data: Data, task: str) -> np.ndarray:
    """As one who comes from pycocotools would call it."""
    truth = hotcoco.COCO(_content(data.truth))
    judged = hotcoco.COCOeval(truth, truth.loadRes(_records(data, task)), task)
    judged.evaluate()
    judged.accumulate()
    judged.summary_lines()
    return np.asarray(judged.stats)


def by_faster_coco_eval(data: Data, task: str) -> np.ndarray:
    """The same."""
    truth = faster_coco_eval.COCO(_content(data.truth))
    results = truth.loadRes(_records(data, task))
    judged = faster_coco_eval.COCOeval_faster(truth, results, task, print_function=_silent)
    judged.run()
    return np.asarray(judged.stats)


def by_pycocotools(data: Data, task: str) -> np.ndarray:
    """The same."""
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = _content(data.truth)
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(_records(data, task)), task)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return np.asarray(judged.stats)


CONTENDERS: dict[str, Callable[[Data, str], np.ndarray]] = {
    OURS: by_us,
    "ours, with kinds of errors": by_us_with_errors,
    "hotcoco, from dictionaries": by_hotcoco,
    "faster-coco-eval": by_faster_coco_eval,
    "pycocotools": by_pycocotools,
}


def _silent(*_: object) -> None:
    """Takes the place of printing."""


def _content(truth: Truth) -> Record:
    """An annotation file's content; ids from 1, as pycocotools takes 0 for no match."""
    columns = zip(
        truth.images.tolist(),
        truth.classes.tolist(),
        truth.boxes.tolist(),
        truth.areas.tolist(),
        truth.crowd.tolist(),
        truth.masks,
        strict=True,
    )
    return {
        "images": [
            {"id": key, "height": height, "width": width}
            for key, (height, width) in zip(truth.image_ids, truth.sizes, strict=True)
        ],
        "categories": [{"id": key, "name": str(key)} for key in range(truth.class_count)],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
                "segmentation": dict(mask),
            }
            for number, (image, category, box, area, crowd, mask) in enumerate(columns, start=1)
        ],
    }


def _records(data: Data, task: str) -> list[Record]:
    """Detections in COCO's result format."""
    records = []
    for image_id, found in data.found.items():
        for box, score, category, counts in zip(
            found.boxes.tolist(),
            found.scores.tolist(),
            found.classes.tolist(),
            found.masks or (),
            strict=True,
        ):
            record = {"image_id": image_id, "category_id": category, "score": score}
            if task == "bbox":
                record["bbox"] = box
            else:
                record["segmentation"] = {"size": list(found.size), "counts": counts}
            records.append(record)
    return records
