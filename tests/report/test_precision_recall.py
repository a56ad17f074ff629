import math

import numpy as np
import pytest
from PIL import Image

from resnet_backbone.report.precision_recall import draw_precision_recall, shown_classes


def test_few_classes_are_all_shown_and_of_many_the_best_and_worst():
    assert shown_classes(np.array([0.5, math.nan, 0.2])) == [2, 0]
    values = np.random.default_rng(0).permutation(80) / 80
    shown = shown_classes(values)
    assert len(shown) == 12
    assert values[shown].tolist() == [*np.arange(6) / 80, *np.arange(74, 80) / 80]


@pytest.mark.parametrize("classes", [1, 5, 40])
def test_a_picture_with_a_row_for_each_task(tmp_path, classes):
    heights = []
    curves = np.random.default_rng(0).random((2, classes, 101))
    curves[:, -1] = np.nan
    for tasks in (["bbox"], ["bbox", "segm"]):
        draw_precision_recall(
            dict.fromkeys(tasks, curves), [f"_$a{i}" for i in range(classes)], tmp_path / "a.png"
        )
        with Image.open(tmp_path / "a.png") as picture:
            picture.load()
            heights.append(picture.height)
    assert heights[1] == 2 * heights[0]
