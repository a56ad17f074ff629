"""CocoEvaluator against pycocotools, the reference implementation."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation import CocoEvaluator
from resnet_backbone.evaluation.average_precision import METRICS
from resnet_backbone.evaluation.compact import encode_masks
from resnet_backbone.structures import Detections

# Both codes add the same doubles in another order.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def real(coco_mini):
    """The annotation file, pycocotools' view of it, and imagined detections of its images."""
    path = coco_mini / "annotations" / "instances_val2017.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
    return path, truth, imagined_detections(truth)


def imagined_detections(truth, seed=0):
    """Ground truth, shifted, resized, duplicated, misnamed and invented by a seeded generator."""
    rng = np.random.default_rng(seed)
    categories = sorted(truth.getCatIds())
    found = []
    for image_id in sorted(truth.imgs):
        image = truth.imgs[image_id]
        height, width = image["height"], image["width"]
        instances = truth.imgToAnns[image_id]
        rows = [jittered(rng, truth, instance, categories) for instance in instances]
        # Found twice; and inside crowds, where COCO's rules count neither right nor wrong.
        rows += [jittered(rng, truth, instance, categories) for instance in instances[::3]]
        rows = [row for row in rows if row[2].any()]
        rows.sort(key=lambda row: -row[0])
        found.append(
            Detections(
                image_id=image_id,
                size=(height, width),
                boxes=torch.tensor(np.array([row[3] for row in rows]).reshape(-1, 4)).float(),
                scores=torch.tensor([row[0] for row in rows]).float(),
                classes=torch.tensor([row[1] for row in rows], dtype=torch.int64),
                masks=torch.tensor(np.array([row[2] for row in rows])).reshape(-1, height, width),
            )
        )
    return found


def jittered(rng, truth, instance, categories):
    mask = truth.annToMask(instance).astype(bool)
    shift = rng.integers(-6, 7, size=2)
    mask = np.roll(mask, shift, axis=(0, 1))
    x, y, w, h = instance["bbox"]
    box = np.array([x, y, x + w, y + h]) + rng.normal(0, 0.05, 4) * [w, h, w, h]
    index = categories.index(instance["category_id"])
    wrong = rng.random() < 0.15
    return rng.random(), int(rng.integers(len(categories))) if wrong else index, mask, box


def reference(truth, found, task):
    """pycocotools' result of the same detections, converted independently of our code."""
    categories = sorted(truth.getCatIds())
    records = []
    for image in found:
        for box, score, index, mask in zip(
            image.boxes.double().tolist(),
            image.scores.double().tolist(),
            image.classes.tolist(),
            image.masks.numpy(),
            strict=True,
        ):
            record = {"image_id": image.image_id, "category_id": categories[index], "score": score}
            if task == "bbox":
                record["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            else:
                record["segmentation"] = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
            records.append(record)
    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCOeval(truth, truth.loadRes(records), task)
        judged.params.imgIds = [image.image_id for image in found]
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged


def evaluator_for(path, truth, image_ids=None, **options):
    categories = truth.loadCats(sorted(truth.getCatIds()))
    return CocoEvaluator(
        path,
        category_ids=[category["id"] for category in categories],
        class_names=[category["name"] for category in categories],
        image_ids=sorted(truth.imgs) if image_ids is None else image_ids,
        **options,
    )


def assert_equal_to_reference(evaluator, metrics, truth, found):
    for task in ("bbox", "segm"):
        judged = reference(truth, found, task)
        assert tuple(metrics[task]) == METRICS
        expected = [math.nan if value == -1 else value for value in judged.stats]
        np.testing.assert_allclose(
            list(metrics[task].values()), expected, rtol=0, atol=TOLERANCE, equal_nan=True
        )
        for index, category in enumerate(judged.params.catIds):
            precision = judged.eval["precision"][:, :, index, 0, -1]
            precision = precision[precision > -1]
            expected_ap = precision.mean() if precision.size else math.nan
            ap = evaluator.per_class[task][truth.cats[category]["name"]]
            assert ap == pytest.approx(expected_ap, abs=TOLERANCE, nan_ok=True)


def test_all_numbers_equal_pycocotools(real):
    path, truth, found = real
    assert any(ann["iscrowd"] for ann in truth.anns.values()), "the data must hold crowd regions"
    evaluator = evaluator_for(path, truth)
    evaluator.process(found[:30])
    evaluator.process(found[30:])
    metrics = evaluator.evaluate()
    # The check means nothing if the detections are all right or all wrong.
    assert 0.1 < metrics["bbox"]["AP"] < 0.9
    assert 0.1 < metrics["segm"]["AP"] < 0.9
    assert evaluator.explanation is None
    assert_equal_to_reference(evaluator, metrics, truth, found)


def test_a_subset_of_the_images(real):
    path, truth, found = real
    chosen = found[::4]
    evaluator = evaluator_for(path, truth, [image.image_id for image in chosen])
    evaluator.process(chosen)
    metrics = evaluator.evaluate()
    # So few images leave classes without ground truth: NaN must stand where COCO says -1.
    assert any(math.isnan(ap) for ap in evaluator.per_class["bbox"].values())
    assert_equal_to_reference(evaluator, metrics, truth, chosen)


def test_repeated_images_count_once_and_reset_forgets(real):
    path, truth, found = real
    evaluator = evaluator_for(path, truth, [image.image_id for image in found[:9]])
    evaluator.process(found[:9])
    once = evaluator.evaluate()
    evaluator.process(found[:3])
    again = evaluator.evaluate()
    for task, row in once.items():
        np.testing.assert_array_equal(list(again[task].values()), list(row.values()))
    evaluator.reset()
    assert evaluator.evaluate()["bbox"]["AP"] == 0.0


def test_no_detections_at_all(real):
    path, truth, found = real
    evaluator = evaluator_for(path, truth)
    empty = [
        Detections(
            image.image_id,
            image.size,
            torch.zeros(0, 4),
            torch.zeros(0),
            torch.zeros(0, dtype=torch.int64),
            torch.zeros((0, *image.size), dtype=torch.bool),
        )
        for image in found
    ]
    evaluator.process(empty)
    metrics = evaluator.evaluate()
    assert all(value == 0.0 for row in metrics.values() for value in row.values())
    assert "there are no predictions" in evaluator.explanation


def test_boxes_alone_need_no_masks(real):
    path, truth, found = real
    evaluator = evaluator_for(path, truth, tasks=("bbox",))
    without = [
        Detections(image.image_id, image.size, image.boxes, image.scores, image.classes)
        for image in found
    ]
    evaluator.process(without)
    metrics = evaluator.evaluate()
    assert list(metrics) == ["bbox"]
    expected = reference(truth, found, "bbox").stats[0]
    assert metrics["bbox"]["AP"] == pytest.approx(expected, abs=TOLERANCE)


@pytest.fixture
def small(tmp_path):
    """A single image with one square cat, and an evaluator of both tasks."""
    path = tmp_path / "instances.json"
    square = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
    record = {"id": 0, "image_id": 1, "category_id": 5, "bbox": [10, 10, 20, 20]}
    record |= {"segmentation": [square], "area": 400, "iscrowd": 0}
    categories = [{"id": 5, "name": "cat"}, {"id": 2, "name": "cat"}]
    images = [{"id": 1, "height": 48, "width": 64, "file_name": "1.jpg"}]
    path.write_text(
        json.dumps({"images": images, "annotations": [record], "categories": categories})
    )
    return CocoEvaluator(path, category_ids=(5, 2), class_names=("cat", "cat"), image_ids=(1,))


def square_detection(size=(48, 64), class_index=0, image_id=1):
    masks = torch.zeros((1, *size), dtype=torch.bool)
    masks[0, 10:30, 10:30] = True
    box = torch.tensor([[10.0, 10, 30, 30]])
    classes = torch.tensor([class_index])
    return Detections(image_id, size, box, torch.tensor([0.9]), classes, masks)


def test_a_perfect_detection_of_an_instance_with_id_zero(small):
    small.process([square_detection()])
    metrics = small.evaluate()
    assert metrics["bbox"]["AP"] == pytest.approx(1.0)
    assert metrics["segm"]["AP"] == pytest.approx(1.0)
    assert math.isnan(metrics["bbox"]["APl"])


def test_categories_of_one_name_stay_apart(small):
    small.process([square_detection()])
    small.evaluate()
    ap = small.per_class["bbox"]
    assert ap["cat (id 5)"] == pytest.approx(1.0)
    assert math.isnan(ap["cat (id 2)"])


def test_objects_without_an_outline_count_for_boxes_but_not_for_masks(tmp_path, caplog):
    """pycocotools on the objects with an outline alone is what mask AP must be."""
    rng = np.random.default_rng(3)
    content = {"categories": [{"id": 5, "name": "cat"}], "images": [], "annotations": []}
    found = []
    for image_id in range(1, 7):
        content["images"].append({"id": image_id, "height": 48, "width": 64, "file_name": "x"})
        boxes, masks = [], np.zeros((4, 48, 64), dtype=bool)
        for row in range(4):
            x, y, side = 1 + 15 * row, int(rng.integers(1, 20)), int(rng.integers(6, 14))
            boxes.append([x, y, x + side, y + side])
            masks[row, y : y + side, x : x + int(side * rng.uniform(0.5, 1))] = True
            outline = [x, y, x + side, y, x + side, y + side, x, y + side]
            record = {"id": len(content["annotations"]) + 1, "image_id": image_id}
            record |= {"category_id": 5, "bbox": [x, y, side, side], "area": side * side}
            empty = [None, [], [[1.0, 2.0, 3.0, 4.0]]][row % 3]
            record |= {"iscrowd": 0, "segmentation": [outline] if row % 2 else empty}
            content["annotations"].append(record)
        tensors = torch.tensor(boxes).float(), torch.from_numpy(rng.uniform(0.1, 1, 4)).float()
        classes = torch.zeros(4, dtype=torch.int64)
        found.append(Detections(image_id, (48, 64), *tensors, classes, torch.from_numpy(masks)))
    path, halved = tmp_path / "all.json", tmp_path / "outlined.json"
    path.write_text(json.dumps(content))
    outlined = [each for each in content["annotations"] if each["id"] % 2 == 0]
    halved.write_text(json.dumps(content | {"annotations": outlined}))
    evaluator = CocoEvaluator(path, category_ids=(5,), class_names=("cat",), image_ids=range(1, 7))
    evaluator.process(found)
    metrics = evaluator.evaluate()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(halved))
    expected = reference(truth, found, "segm").stats
    # They are half the objects; what is found at the others' places is wrong, as without them.
    assert metrics["segm"]["AP"] == pytest.approx(expected[0], abs=TOLERANCE)
    assert 0.0 < metrics["segm"]["AP"] < metrics["bbox"]["AP"] == pytest.approx(1.0)
    assert "12 of 24 objects have no outline; they count for bbox, but not for segm" in caplog.text


def test_masks_are_undefined_where_no_object_has_an_outline(tmp_path):
    path = tmp_path / "boxes.json"
    record = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [10, 10, 20, 20]}
    images = [{"id": 1, "height": 48, "width": 64, "file_name": "1.jpg"}]
    categories = [{"id": 5, "name": "cat"}]
    path.write_text(
        json.dumps({"images": images, "annotations": [record], "categories": categories})
    )
    evaluator = CocoEvaluator(path, category_ids=(5,), class_names=("cat",), image_ids=(1,))
    evaluator.process([square_detection()])
    metrics = evaluator.evaluate()
    assert metrics["bbox"]["AP"] == pytest.approx(1.0)
    assert all(math.isnan(value) for value in metrics["segm"].values())
    assert math.isnan(evaluator.per_class["segm"]["cat"])
    assert "segm AP is undefined: no instance has an outline" in evaluator.explanation


def test_classes_that_the_file_does_not_have_are_left_out(small):
    """As if they had not been detected: here the only wrong detection is of such a class."""
    ids, names = (None, 5, None), ("dog", "cat", "bird")
    evaluator = CocoEvaluator(small.annotations, category_ids=ids, class_names=names, image_ids=[1])
    found = square_detection(class_index=1)
    both = Detections(
        1,
        found.size,
        found.boxes.repeat(2, 1),
        torch.tensor([0.99, 0.9]),
        torch.tensor([0, 1]),
        found.masks.repeat(2, 1, 1),
    )
    evaluator.process([both])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(1.0)
    ap = evaluator.per_class["bbox"]
    assert list(ap) == list(names)
    assert ap["cat"] == pytest.approx(1.0) and math.isnan(ap["dog"]) and math.isnan(ap["bird"])
    assert all(row["count"] == 0 for row in evaluator.errors["bbox"].values())


def test_wrong_class_is_explained(small):
    small.process([square_detection(class_index=1)])
    assert small.evaluate()["bbox"]["AP"] == 0.0
    assert "of 1 predictions (highest score 0.900)" in small.explanation
    assert "Never predicted: cat (id 5)." in small.explanation


def test_masks_of_another_size_than_annotated_are_refused(small):
    small.process([square_detection(size=(64, 48))])
    with pytest.raises(DataError, match=r"image 1: the file says 64 x 48 pixels, .* has 48 x 64"):
        small.evaluate()


def test_unknown_image_and_missing_masks_are_refused(small):
    with pytest.raises(ValueError, match="image 2 is not one of"):
        small.process([square_detection(image_id=2)])
    found = square_detection()
    bare = Detections(1, found.size, found.boxes, found.scores, found.classes)
    with pytest.raises(ValueError, match="found no masks"):
        small.process([bare])


def test_images_never_seen_are_reported(small, caplog):
    small.evaluate()
    assert "1 of 1 image were not evaluated" in caplog.text


def test_encoding_equals_pycocotools_mask_by_mask():
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(5, 13, 17, generator=generator) < torch.rand(5, 1, 1, generator=generator)
    masks[0] = False
    masks[1] = True
    expected = [mask_api.encode(np.asfortranarray(mask.byte().numpy()))["counts"] for mask in masks]
    assert encode_masks(masks) == expected
    assert encode_masks(masks[:0]) == []
