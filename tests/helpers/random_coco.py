"""Small random data sets in COCO's format that hold every odd case, and pycocotools' numbers."""

import contextlib
import copy
import io
import json

import numpy as np
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnet_backbone.evaluation import CocoEvaluator
from resnet_backbone.structures import Detections


def random_data(seed):
    """Returns the content of an annotation file, and detections by image.

    Crowds, polygons and RLEs in all forms, areas on the bounds of COCO's sizes, boxes without area
    or beyond the image, ids with gaps, images and classes without objects or detections; odd sets
    have tied scores, and of four sets two have images of more than 100 detections.
    """
    rng = np.random.default_rng(seed)
    many = seed % 4 < 2
    levels = int(rng.integers(1, 6)) if seed % 2 else None
    ids = rng.choice(1000 if rng.random() < 0.7 else 10**9, int(rng.integers(1, 7)), replace=False)
    categories = np.sort(rng.choice(100, int(rng.integers(1, 6)), replace=False))
    images, annotations, found = [], [], []
    for image_id in ids.tolist():
        side = 60 if many or rng.random() < 0.6 else 200
        height, width = (int(value) for value in rng.integers(8, side, 2))
        images.append({"id": image_id, "height": height, "width": width})
        count = 0 if rng.random() < 0.2 else int(rng.integers(0, 120 if many else 8))
        own = [_object(rng, image_id, categories, height, width) for _ in range(count)]
        for annotation in own:
            annotation["id"] = len(annotations)
            annotations.append(annotation)
        if rng.random() < 0.9:
            count = int(rng.integers(0, 250 if many else 14))
            size = height, width
            found.append(_detections(rng, image_id, size, own, categories, count, levels))
    names = [{"id": int(key), "name": f"class {key}"} for key in categories]
    return {"images": images, "annotations": annotations, "categories": names}, found


def _box(rng, height, width):
    kind = rng.integers(0, 6)
    if kind == 0:
        w, h = rng.uniform(0, 1.5, 2)
    elif kind == 1:
        w, h = 0.0, rng.uniform(0, 5)
    else:
        w, h = rng.uniform(1, width), rng.uniform(1, height)
    x, y = rng.uniform(0, max(width - w, 0.1)), rng.uniform(0, max(height - h, 0.1))
    if rng.random() < 0.15:
        x, y = rng.uniform(-width, 2 * width), rng.uniform(-height, 2 * height)
    box = np.array([x, y, w, h])
    return np.round(box) if rng.random() < 0.3 else box


def _mask(rng, box, height, width):
    mask = np.zeros((height, width), dtype=np.uint8)
    x, y, w, h = (max(int(value), 0) for value in (*box[:2], *(box[:2] + box[2:])))
    mask[y:h, x:w] = 1
    if rng.random() < 0.3:
        mask &= (rng.random((height, width)) < 0.8).astype(np.uint8)
    return mask


def _object(rng, image_id, categories, height, width):
    box = _box(rng, height, width)
    crowd = rng.random() < 0.15
    area = box[2] * box[3]
    if rng.random() < 0.15:
        area = rng.choice([0, 1023.99, 1024, 9216, 9216.01, 1e10])
    return {
        "image_id": image_id,
        "category_id": int(rng.choice(categories[: max(1, len(categories) - 1)])),
        "bbox": box.tolist(),
        "area": float(area),
        "iscrowd": int(crowd),
        "segmentation": _outline(rng, box, height, width, crowd),
    }


def _outline(rng, box, height, width, crowd):
    if not crowd and rng.random() < 0.7:
        boxes = [box, _box(rng, height, width)] if rng.random() < 0.3 else [box]
        return [_polygon(rng, box) for box in boxes]
    mask = _mask(rng, box, height, width)
    if rng.random() < 0.5:
        encoded = mask_api.encode(np.asfortranarray(mask))
        return {"size": [height, width], "counts": encoded["counts"].decode()}
    flat = mask.reshape(-1, order="F")
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    runs = np.diff(ends).tolist()
    return {"size": [height, width], "counts": [0, *runs] if flat[0] else runs}


def _polygon(rng, box):
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
    circle = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    return (box[:2] + box[2:] / 2 * (1 + circle)).reshape(-1).tolist()


def _detections(rng, image_id, size, objects, categories, count, levels):
    boxes, classes = np.zeros((count, 4)), np.zeros(count, dtype=np.int64)
    masks = np.zeros((count, *size), dtype=bool)
    for row in range(count):
        boxes[row], classes[row] = _box(rng, *size), rng.integers(len(categories))
        if objects and rng.random() < 0.7:
            near = objects[rng.integers(len(objects))]
            boxes[row] = near["bbox"]
            if rng.random() < 0.7:
                boxes[row] += rng.normal(0, 0.1, 4) * boxes[row][[2, 3, 2, 3]]
            if rng.random() < 0.8:
                classes[row] = list(categories).index(near["category_id"])
        boxes[row, 2:] = boxes[row, 2:].clip(0)
        masks[row] = _mask(rng, boxes[row], *size)
    scores = rng.random(count) if levels is None else rng.integers(0, levels, count) / levels
    boxes[:, 2:] += boxes[:, :2]
    return Detections(
        image_id=image_id,
        size=size,
        boxes=torch.tensor(boxes).float(),
        scores=torch.tensor(scores).float(),
        classes=torch.tensor(classes),
        masks=torch.tensor(masks),
    )


def records(content, found, task):
    """Returns detections in COCO's result format, converted independently of our code."""
    categories = [category["id"] for category in content["categories"]]
    rows = []
    for image in found:
        for (x0, y0, x1, y1), score, index, mask in zip(
            image.boxes.double().tolist(),
            image.scores.double().tolist(),
            image.classes.tolist(),
            image.masks.numpy(),
            strict=True,
        ):
            row = {"image_id": image.image_id, "category_id": categories[index], "score": score}
            if task == "bbox":
                row["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            else:
                row["segmentation"] = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
            rows.append(row)
    return rows


def pycocotools_numbers(content, found, task, max_detections=100):
    """Returns the twelve numbers, AP by class, and precision [2, K, R] at IoU 0.5 and 0.75.

    -1 where undefined.

    They are read from the arrays, because pycocotools' own summary is right for 100 alone.
    """
    content = copy.deepcopy(content)
    for number, annotation in enumerate(content["annotations"], start=1):
        annotation["id"] = number  # its matching takes 0 for "no match"
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = COCO(), COCO()
        truth.dataset = content
        truth.createIndex()
        rows = records(content, found, task)
        results.dataset = content | {"annotations": []}
        results.createIndex()
        judged = COCOeval(truth, truth.loadRes(rows) if rows else results, task)
        judged.params.maxDets = [1, 10, max_detections]
        judged.evaluate()
        judged.accumulate()
        if max_detections == 100:
            judged.summarize()
    precision, recall = judged.eval["precision"], judged.eval["recall"]
    numbers = [_mean(part) for part in (precision[..., 0, 2], precision[0, ..., 0, 2])]
    numbers += [_mean(precision[5, ..., 0, 2])]
    numbers += [_mean(precision[..., size, 2]) for size in (1, 2, 3)]
    numbers += [_mean(recall[..., 0, limit]) for limit in range(3)]
    numbers += [_mean(recall[..., size, 2]) for size in (1, 2, 3)]
    if max_detections == 100:
        np.testing.assert_allclose(numbers, judged.stats, rtol=0, atol=1e-12)
    by_class = [_mean(precision[:, :, k, 0, 2]) for k in range(precision.shape[2])]
    return numbers, by_class, precision[[0, 5], :, :, 0, 2].transpose(0, 2, 1)


def _mean(values):
    defined = values[values > -1]
    return defined.mean() if defined.size else -1


def our_numbers(folder, content, found, max_detections=100):
    """Returns {task: what `pycocotools_numbers` returns}, and the evaluator."""
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    evaluator = CocoEvaluator(
        path,
        category_ids=[category["id"] for category in content["categories"]],
        class_names=[category["name"] for category in content["categories"]],
        image_ids=[image["id"] for image in content["images"]],
        max_detections=max_detections,
    )
    evaluator.process(found)
    metrics = evaluator.evaluate()
    numbers = {
        task: (
            np.nan_to_num(list(metrics[task].values()), nan=-1),
            np.nan_to_num(list(evaluator.per_class[task].values()), nan=-1),
            np.nan_to_num(evaluator.details.precision[task], nan=-1),
        )
        for task in metrics
    }
    return numbers, evaluator
