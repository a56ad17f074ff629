import numpy as np
import pytest
from PIL import Image

from resnet_backbone.errors import StorageError
from resnet_backbone.report.grid import CELL, GAP, draw_grid


def test_pictures_are_in_rows_and_small_ones_enlarged_pixel_by_pixel(tmp_path):
    pictures = [Image.new("RGB", (16, 16), (number * 20, 0, 0)) for number in range(6)]
    draw_grid(pictures, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * CELL + GAP, 4 * (CELL + GAP) - GAP, 3)
    places = [(row * (CELL + GAP), column * (CELL + GAP)) for row in (0, 1) for column in range(4)]
    for number, (top, left) in enumerate(places[:6]):
        assert (pixels[top : top + CELL, left : left + CELL] == (number * 20, 0, 0)).all()
    assert (pixels[-CELL:, 2 * (CELL + GAP) :] == 255).all()


def test_large_pictures_are_scaled_down(tmp_path):
    draw_grid([Image.new("RGB", (2000, 1000))], tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.size == (CELL, CELL // 2)


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(StorageError, match="cannot write the picture"):
        draw_grid([Image.new("RGB", (9, 9))], tmp_path / "missing" / "grid.png")
