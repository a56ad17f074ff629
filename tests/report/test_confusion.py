import numpy as np
import pytest
from PIL import Image

from resnet_backbone.report.confusion import MOST_CLASSES, draw_confusion, most_confused


def test_the_most_confused_classes_have_most_entries_beside_the_diagonal():
    matrix = np.diag(np.full(50, 100))
    matrix[3, 7] = 5
    matrix[40, 3] = 2
    chosen = most_confused(matrix)
    assert len(chosen) == MOST_CLASSES and chosen == sorted(chosen)
    assert {3, 7, 40} <= set(chosen)
    matrix = np.zeros((50, 50), dtype=int)
    matrix[np.arange(25, 49), np.arange(26, 50)] = 1 + np.arange(24)
    assert most_confused(matrix) == list(range(30, 50))


@pytest.mark.parametrize("classes", [1, 3, 30])
def test_a_picture_of_any_number_of_classes_of_any_name(tmp_path, classes):
    names = [f"$x_{index} 猫 {'long ' * 8}" for index in range(classes)] + ["(background)"]
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 9, (classes + 1, classes + 1))
    draw_confusion(matrix, names, tmp_path / "confusion.png", title="Title")
    with Image.open(tmp_path / "confusion.png") as picture:
        picture.load()
        assert picture.format == "PNG" and min(picture.size) > 300


def test_nothing_counted(tmp_path):
    draw_confusion(np.zeros((3, 3), dtype=int), ["a", "b", "-"], tmp_path / "a.png", title="")
    assert (tmp_path / "a.png").exists()
