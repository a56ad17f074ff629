import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation.compact import CompactDetections, compact, join
from resnet_backbone.structures import Detections

GOOD = Detections(
    image_id=7,
    size=(20, 30),
    boxes=torch.tensor([[1.0, 2, 5, 9], [3, 3, 3, 8]]),
    scores=torch.tensor([0.9, 0.5]),
    classes=torch.tensor([2, 0]),
    masks=torch.zeros(2, 20, 30, dtype=torch.bool),
)


def test_corners_become_widths_and_heights():
    found = compact(GOOD, class_count=3, with_masks=True)
    np.testing.assert_array_equal(found.boxes, [[1, 2, 4, 7], [3, 3, 0, 5]])
    assert found.size == (20, 30) and len(found.masks) == 2
    assert compact(GOOD, class_count=3, with_masks=False).masks is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite(value):
    scores = replace(GOOD, scores=torch.tensor([0.9, value]))
    boxes = replace(GOOD, boxes=torch.tensor([[1.0, 2, value, 9], [value, 3, 3, 8]]))
    for found, count in ((scores, 1), (boxes, 2)):
        with pytest.raises(DataError, match=f"image 7: {count} detections .* not finite"):
            compact(found, class_count=3, with_masks=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.tensor([[5.0, 2, 1, 9], [3, 3, 3, 8]])}, "ends before it begins"),
        ({"classes": torch.tensor([3, 0])}, "class 3, expected 0 to 2"),
        ({"classes": torch.tensor([0, -1])}, "class -1, expected 0 to 2"),
        ({"scores": torch.tensor([0.9])}, "2 boxes, 1 scores and 2 classes"),
        ({"masks": None}, "found no masks"),
        (
            {"masks": torch.zeros(2, 30, 20).bool()},
            r"masks of shape \(2, 30, 20\), .* \(2, 20, 30\)",
        ),
        ({"masks": torch.zeros(1, 20, 30).bool()}, r"masks of shape \(1, 20, 30\)"),
    ],
)
def test_what_does_not_fit_together(change, message):
    with pytest.raises(ValueError, match=f"image 7: .*{message}"):
        compact(replace(GOOD, **change), class_count=3, with_masks=True)


def test_more_masks_than_a_byte_counts():
    count = 300
    found = replace(
        GOOD,
        boxes=torch.zeros(count, 4),
        scores=torch.zeros(count),
        classes=torch.zeros(count, dtype=torch.int64),
        masks=torch.ones(count, 20, 30, dtype=torch.bool),
    )
    assert len(compact(found, class_count=1, with_masks=True).masks) == count


def image(scores, classes):
    count = len(scores)
    boxes = np.arange(4.0 * count).reshape(count, 4)
    masks = [bytes([65 + row]) for row in range(count)]
    return CompactDetections((20, 30), boxes, np.array(scores), np.array(classes), masks)


def test_joined_in_the_order_of_images_with_the_best_of_each_class():
    found = join({4: image([0.1, 0.9, 0.5, 0.5], [1, 0, 1, 1]), 2: image([0.3], [5])}, 2)
    np.testing.assert_array_equal(found.images, [2, 4, 4, 4])
    np.testing.assert_array_equal(found.scores, [0.3, 0.9, 0.5, 0.5])  # in their own order
    np.testing.assert_array_equal(found.classes, [5, 0, 1, 1])
    np.testing.assert_array_equal(found.boxes[:, 0], [0, 4, 8, 12])
    assert [mask["counts"] for mask in found.masks] == [b"A", b"B", b"C", b"D"]
    assert all(mask["size"] == (20, 30) for mask in found.masks)


def test_nothing_found_joins_to_empty_arrays():
    for found in (join({}, 100), join({0: image([], [])}, 100)):
        assert found.boxes.shape == (0, 4) and found.images.dtype == np.int64
        assert len(found.scores) == len(found.classes) == len(found.masks) == 0
