"""A prediction is chosen from, looped over, converted and looked at."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from resnet_backbone.tasks.detection.prediction import Detection, Prediction

NAMES = ("dog", "person", "zebra")


@pytest.fixture
def found():
    masks = torch.zeros(3, 47, 61, dtype=torch.bool)
    masks[0, 3:20, 5:30] = masks[1, 10:40, 7:23] = masks[2, 1:2, 1:2] = True
    return Prediction(
        image_id=9,
        size=(47, 61),
        boxes=torch.tensor([[5.0, 3, 30, 20], [7.25, 10, 23, 40.126], [1, 1, 2, 2]]),
        scores=torch.tensor([0.9, 0.625, 0.25]),
        classes=torch.tensor([1, 0, 1]),
        masks=masks,
        image=torch.full((3, 47, 61), 200, dtype=torch.uint8),
        class_names=NAMES,
        category_ids=(18, 1, 24),
    )


def test_it_reads_as_a_sentence(found):
    assert repr(found) == "3 detections: 2 person, 1 dog"
    assert repr(found[:1]) == "1 detection: 1 person"
    assert repr(found[:0]) == "0 detections"


@pytest.mark.parametrize(
    ("choose", "rows"),
    [
        (lambda found: found.scores > 0.5, [0, 1]),
        (lambda found: found.scores.numpy() > 0.5, [0, 1]),
        (lambda _: slice(1, None), [1, 2]),
        (lambda _: [2, 0], [2, 0]),
        (lambda _: torch.tensor([1]), [1]),
        (lambda found: found.scores > 1, []),
    ],
)
def test_choosing_some(found, choose, rows):
    chosen = found[choose(found)]
    assert isinstance(chosen, Prediction)
    assert len(chosen) == len(rows)
    assert chosen.scores.tolist() == [found.scores.tolist()[row] for row in rows]
    assert chosen.names == [found.names[row] for row in rows]
    assert chosen.boxes.shape == (len(rows), 4)
    assert chosen.masks.shape == (len(rows), 47, 61)
    assert chosen.image is found.image


def test_one_detection_and_a_loop_over_all(found):
    first = found[0]
    assert isinstance(first, Detection)
    assert (first.name, first.class_index) == ("person", 1)
    assert first.score == pytest.approx(0.9)
    assert first.box.tolist() == [5, 3, 30, 20]
    assert torch.equal(first.mask, found.masks[0])
    assert found[-1].score == found[np.int64(2)].score == 0.25
    assert [one.name for one in found] == found.names == ["person", "dog", "person"]
    with pytest.raises(IndexError):
        found[3]


def test_columns_are_plain_values(found):
    columns = found.to_dict()
    assert json.loads(json.dumps(columns)) == columns
    assert columns["name"] == ["person", "dog", "person"]
    assert columns["x0"] == [5, 7.25, 1]
    assert columns["y1"] == [20, pytest.approx(40.126), 2]
    assert found[:0].to_dict() == {key: [] for key in columns}


def test_cocos_results_format(found):
    entries = found.to_coco()
    assert json.loads(json.dumps(entries)) == entries
    assert entries[1] | {"segmentation": None} == {
        "image_id": 9,
        "category_id": 18,
        "bbox": [7.25, 10, 15.75, 30.13],
        "score": 0.625,
        "segmentation": None,
    }
    for entry, mask in zip(entries, found.masks, strict=True):
        assert (mask_api.decode(entry["segmentation"]) == mask.numpy()).all()
    assert found[:0].to_coco() == []


def without_masks(found):
    return Prediction(**(vars(found) | {"masks": None}))


def test_without_masks(found):
    boxes = without_masks(found)
    assert boxes[0].mask is None
    assert all("segmentation" not in entry for entry in boxes.to_coco())
    assert boxes[:2].draw().size == found.draw().size


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def shown(found):
    return pixels(Image.open(io.BytesIO(found._repr_png_())))


def test_a_notebook_shows_what_is_likely(found):
    assert (shown(found) == pixels(found.draw(threshold=0.5))).all()
    assert (shown(found) != pixels(found.draw(threshold=0.0))).any()


def test_a_notebook_shows_the_best_where_nothing_is_likely(found):
    unsure = Prediction(**(vars(found) | {"scores": found.scores / 10}))
    assert (shown(unsure) == pixels(unsure.draw(threshold=0.0))).all()
    assert (shown(unsure) != pixels(unsure.draw())).any()
