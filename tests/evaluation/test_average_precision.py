"""Equal to pycocotools on random data sets; what a number means is tested in test_coco.py."""

import copy
import math

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster
from random_coco import our_numbers, pycocotools_numbers, random_data, records

from resnet_backbone.evaluation.average_precision import METRICS, metric_names
from resnet_backbone.structures import Detections

TOLERANCE = 1e-9
TASKS = ("bbox", "segm")


def assert_equal_to_pycocotools(folder, seed):
    content, found = random_data(seed)
    limit = 150 if seed % 3 == 0 else 100
    ours, _ = our_numbers(folder, content, found, limit)
    for task in TASKS:
        expected = pycocotools_numbers(content, found, task, limit)
        for mine, theirs in zip(ours[task], expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE, err_msg=f"{seed}")


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_pycocotools(tmp_path, seed):
    assert_equal_to_pycocotools(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(60, 1060, 100))
def test_equal_to_pycocotools_on_a_thousand_more(tmp_path, start):
    for seed in range(start, start + 100):
        assert_equal_to_pycocotools(tmp_path, seed)


def test_random_data_holds_the_odd_cases():
    """The comparison means nothing without them."""
    data = [random_data(seed) for seed in range(60)]
    objects = [a for content, _ in data for a in content["annotations"]]
    images = [image for _, found in data for image in found]
    outlines = [a["segmentation"] for a in objects if a["iscrowd"]]
    assert {type(outline["counts"]) for outline in outlines} == {str, list}
    assert any(len(a["segmentation"]) > 1 for a in objects if not a["iscrowd"])
    assert any(0 in a["bbox"][2:] for a in objects) and any(min(a["bbox"]) < 0 for a in objects)
    most = max(int(image.classes.bincount().max()) for image in images if len(image))
    assert most > 100
    assert any(not len(image) for image in images)
    assert any(len(image) > 100 and len(image.scores.unique()) == 1 for image in images)
    assert any(not content["annotations"] for content, _ in data)
    assert any(len(found) < len(content["images"]) for content, found in data)


@pytest.mark.parametrize("seed", range(4, 14))
def test_equal_to_faster_coco_eval(tmp_path, seed):
    content, found = random_data(seed)
    ours, _ = our_numbers(tmp_path, content, found)
    for number, annotation in enumerate(content["annotations"], start=1):
        annotation["id"] = number
    for task in TASKS:
        truth = COCO(copy.deepcopy(content))
        results = truth.loadRes(records(content, found, task))
        judged = COCOeval_faster(truth, results, task, print_function=lambda *_: None)
        judged.run()
        np.testing.assert_allclose(ours[task][0], judged.stats, rtol=0, atol=TOLERANCE)


def perfect(image_id, boxes, size, scores=None, classes=None):
    """Detections of exactly these boxes (x, y, width, height), with masks."""
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).float()
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    count = len(boxes)
    return Detections(
        image_id=image_id,
        size=size,
        boxes=corners,
        scores=torch.ones(count) if scores is None else torch.tensor(scores),
        classes=torch.zeros(count, dtype=torch.int64) if classes is None else torch.tensor(classes),
        masks=masks,
    )


def annotated(boxes_by_image, size, crowd=()):
    """The content of an annotation file with one class, of rectangles (x, y, width, height)."""
    pairs = [(key, box) for key, boxes in boxes_by_image.items() for box in boxes]
    return {
        "images": [{"id": key, "height": size[0], "width": size[1]} for key in boxes_by_image],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [
            {
                "id": number,
                "image_id": key,
                "category_id": 3,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": int(number in crowd),
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
            for number, (key, (x, y, w, h)) in enumerate(pairs)
        ],
    }


SIZE = (160, 160)
GRID = [(10 * column, 10 * row, 8, 8) for row in range(15) for column in range(15)]


def test_225_objects_of_a_class_need_more_than_100_detections(tmp_path, caplog):
    content, found = annotated({1: GRID, 2: GRID[:90]}, SIZE), perfect(1, GRID, SIZE)
    both = [found, perfect(2, GRID[:90], SIZE)]
    _, evaluator = our_numbers(tmp_path, content, both)
    metrics = evaluator.evaluate()
    # 190 of 315 are counted: recall 0.603, so 61 of COCO's 101 recalls, from 0.00 to 0.60.
    assert metrics["bbox"]["AP"] == metrics["segm"]["AP"] == pytest.approx(61 / 101)
    assert caplog.text.count("1 of 2 images hold more than 100 objects of a class, up to 225") == 1
    assert "evaluation.max_detections" in caplog.text
    caplog.clear()
    _, evaluator = our_numbers(tmp_path, content, both, max_detections=300)
    metrics = evaluator.evaluate()
    assert metrics["bbox"]["AP"] == metrics["segm"]["AP"] == pytest.approx(1.0)
    assert metrics["bbox"]["AR300"] == pytest.approx(1.0)
    assert tuple(metrics["bbox"]) == metric_names(300)
    assert not caplog.text


def test_names_say_how_many_detections_count():
    assert METRICS == metric_names(100)
    assert metric_names(300)[6:9] == ("AR1", "AR10", "AR300")
    assert set(metric_names(300)) - set(METRICS) == {"AR300"}


def test_detections_inside_a_crowd_are_neither_right_nor_wrong(tmp_path):
    content = annotated({1: [(0, 0, 20, 20), (60, 60, 80, 80)]}, SIZE, crowd={1})
    boxes = [(70, 70, 20, 20), (90, 90, 20, 20), (0, 0, 20, 20)]
    found = perfect(1, boxes, SIZE, scores=[0.9, 0.8, 0.7])
    ours, _ = our_numbers(tmp_path, content, [found])
    assert ours["bbox"][0][0] == ours["segm"][0][0] == pytest.approx(1.0)


def test_ids_too_large_for_a_float(tmp_path):
    first, second = 2**60, 2**60 + 1
    content = annotated({first: [(0, 0, 20, 20)], second: [(60, 60, 20, 20)]}, SIZE)
    found = [perfect(first, [(0, 0, 20, 20)], SIZE), perfect(second, [(60, 60, 20, 20)], SIZE)]
    ours, _ = our_numbers(tmp_path, content, found)
    assert ours["bbox"][0][0] == ours["segm"][0][0] == pytest.approx(1.0)


def test_nothing_to_find_and_nothing_found(tmp_path):
    _, evaluator = our_numbers(tmp_path, annotated({1: []}, SIZE), [])
    metrics = evaluator.evaluate()
    assert all(math.isnan(value) for value in metrics["segm"].values())
    assert "undefined" in evaluator.explanation
