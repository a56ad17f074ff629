import numpy as np
import pytest
from PIL import Image

from resnet_backbone.report.label_statistics import (
    LabelStatistics,
    draw_label_statistics,
    shown_bars,
)


def test_of_many_classes_the_commonest_and_the_rarest_are_shown():
    assert shown_bars(np.array([3, 9, 5])) == [1, 2, 0]
    assert shown_bars(np.arange(100)) == [*range(99, 84, -1), *range(14, -1, -1)]


@pytest.mark.parametrize(("classes", "boxes"), [(1, 0), (3, 50), (90, 200)])
def test_a_picture_of_any_number_of_classes_and_boxes(tmp_path, classes, boxes):
    rng = np.random.default_rng(0)
    labels = LabelStatistics(
        class_names=[f"$name_{index}" for index in range(classes)],
        counts=np.bincount(rng.integers(0, classes, boxes), minlength=classes),
        sizes=rng.uniform(1, 300, boxes),
        ratios=rng.uniform(0.1, 9, boxes),
        centres=rng.random((boxes, 2)),
        anchor_sizes=[8, 16, 32],
        anchor_ratios=[0.5, 1, 2],
    )
    draw_label_statistics(labels, tmp_path / "labels.png")
    with Image.open(tmp_path / "labels.png") as picture:
        picture.load()
        assert picture.format == "PNG"
