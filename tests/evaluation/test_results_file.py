"""COCO's results format, read by pycocotools."""

import json

import pytest
import torch
from pycocotools.coco import COCO

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation.results_file import ResultsWriter
from resnet_backbone.structures import Detections


def found(image_id, boxes, masks=None):
    count = len(boxes)
    return Detections(
        image_id=image_id,
        size=(13, 21),
        boxes=torch.tensor(boxes).reshape(-1, 4),
        scores=torch.linspace(0.9, 0.3, count),
        classes=torch.arange(count) % 2,
        masks=masks,
    )


def test_pycocotools_reads_what_was_written(tmp_path):
    masks = torch.zeros(2, 13, 21, dtype=torch.bool)
    masks[0, 2:5, 1:9] = True
    writer = ResultsWriter(
        tmp_path / "d.json", category_ids=(3, 7), image_ids=(4, 9, 11), with_masks=True
    )
    writer.process([found(9, [[1.0, 2.0, 9.0, 5.0], [0.0, 0.0, 20.25, 12.5]], masks)])
    writer.process([found(4, [], torch.zeros(0, 13, 21, dtype=torch.bool))])
    writer.process([found(9, [[1.0, 2.0, 9.0, 5.0]], masks[:1])])  # padding of another rank
    assert writer.evaluate() == {} and writer.per_class == writer.errors == {}
    assert "2 detections in 2 of 3 images are in" in writer.explanation
    truth = COCO()
    truth.dataset = {
        "images": [{"id": key, "height": 13, "width": 21} for key in (4, 9, 11)],
        "categories": [{"id": 3}, {"id": 7}],
        "annotations": [],
    }
    truth.createIndex()
    read = truth.loadRes(str(tmp_path / "d.json"))
    assert read.getAnnIds(imgIds=[4]) == []
    first, second = read.loadAnns(read.getAnnIds(imgIds=[9]))
    assert (first["category_id"], second["category_id"]) == (3, 7)
    assert first["score"] == pytest.approx(0.9, abs=1e-5)
    assert read.annToMask(first).sum() == 24 and read.annToMask(first)[2:5, 1:9].all()
    boxes = [entry["bbox"] for entry in json.loads((tmp_path / "d.json").read_text())]
    assert boxes == [[1, 2, 8, 3], [0, 0, 20.25, 12.5]]


def test_without_masks_there_are_boxes_alone_and_what_is_not_finite_is_refused(tmp_path):
    writer = ResultsWriter(tmp_path / "d", category_ids=(1, 2), image_ids=(1,), with_masks=False)
    writer.process([found(1, [[0.0, 0.0, 2.0, 2.0]])])
    writer.evaluate()
    assert "segmentation" not in json.loads((tmp_path / "d").read_text())[0]
    writer.reset()
    with pytest.raises(DataError, match="not finite"):
        writer.process([found(1, [[0.0, 0.0, float("nan"), 2.0]])])
