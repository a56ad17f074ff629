"""Detections are listed as COCO lists them; tests/tasks/test_predict_files.py has the files."""

import torch

from resnet_backbone.report.draw import draw_detections
from resnet_backbone.tasks.detection.prediction import Prediction
from resnet_backbone.tasks.detection.predictions import CocoPredictions

FOUND = Prediction(
    image_id=9,
    size=(47, 61),
    boxes=torch.tensor([[5.0, 3, 30, 20], [7, 10, 23, 40]]),
    scores=torch.tensor([0.75, 0.25]),
    classes=torch.tensor([1, 1]),
    masks=None,
    image=torch.full((3, 47, 61), 200, dtype=torch.uint8),
    class_names=("dog", "person"),
    category_ids=(18, 1),
)


def test_annotations_are_numbered_over_all_images():
    form = CocoPredictions(FOUND.class_names, FOUND.category_ids)
    of_image, entries = form.entries(FOUND)
    assert of_image == {}
    listed = form.content([{"id": 9}], entries + entries)
    assert listed["images"] == [{"id": 9}]
    assert [entry["id"] for entry in listed["annotations"]] == [1, 2, 3, 4]
    assert [entry["area"] for entry in listed["annotations"]] == [425, 480, 425, 480]
    assert listed["categories"] == [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]


def test_pictures_show_the_unlikely_ones_too_in_the_colours_asked_for():
    drawn = {
        kind: CocoPredictions(FOUND.class_names, FOUND.category_ids, kind).draw(FOUND).tobytes()
        for kind in ("class", "instance")
    }
    assert drawn["class"] != drawn["instance"]
    whole = draw_detections(FOUND.image, FOUND, FOUND.class_names, threshold=0.0)
    assert drawn["class"] == whole.tobytes()
