"""Boxes in every format that tools write, seen from what COCO's format would make of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.data.coco.box_formats import BoxFormats

WIDTH, HEIGHT = 640, 480
FORMATS = {
    "COCO": lambda x0, y0, x1, y1: (x0, y0, x1 - x0, y1 - y0),
    "corners": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "centre": lambda x0, y0, x1, y1: ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
    "fractions": lambda x0, y0, x1, y1: (
        *(x0 / WIDTH, y0 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT),
    ),
    "YOLO": lambda x0, y0, x1, y1: (
        *((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT),
        *((x1 - x0) / WIDTH, (y1 - y0) / HEIGHT),
    ),
}
SIGNS = {
    "corners": "(x0, y0, x1, y1)?",
    "centre": "(centre x, centre y, width, height)?",
    "fractions": "lie between 0 and 1, as fractions of the image's width and height do",
    "YOLO": "lie between 0 and 1, as fractions of the image's width and height do",
}


def boxes(count, seed=0):
    """Boxes of an eighth to half of the image at random places, as corners."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        width, height = rng.uniform(0.12, 0.5, 2) * (WIDTH, HEIGHT)
        x0, y0 = rng.uniform(0, 1, 2) * (WIDTH - width, HEIGHT - height)
        yield x0, y0, x0 + width, y0 + height


def suspicion(rows, width=WIDTH, height=HEIGHT):
    formats = BoxFormats()
    for row in rows:
        formats.add(row, width, height)
    return formats.suspicion()


@pytest.mark.parametrize("kind", SIGNS)
@pytest.mark.parametrize("count", [12, 100])
def test_other_formats_are_named_with_the_share_that_says_so(kind, count):
    defect = suspicion([FORMATS[kind](*box) for box in boxes(count)])
    assert SIGNS[kind] in defect.detail
    assert f"of {count} boxes" in defect.detail
    assert defect.detail.endswith("COCO's format is (x, y, width, height) in pixels")


@pytest.mark.parametrize("seed", range(20))
def test_cocos_own_format_is_not_suspected(seed):
    rows = [FORMATS["COCO"](*box) for box in boxes(100, seed)]
    assert suspicion(rows) is None
    # Not even where every tenth crosses the right or bottom border by some pixels.
    careless = [(x, y, w + 20 * (n % 10 == 0), h + 20) for n, (x, y, w, h) in enumerate(rows)]
    assert suspicion(careless) is None


@pytest.mark.parametrize("count", [3, 9])
def test_few_boxes_are_enough_where_all_say_the_same(count):
    corners = [(300 + n, 200, 500, 400 + n) for n in range(count)]
    assert f"{count} of {count} boxes; are they in the format (x0" in suspicion(corners).detail
    # One that cannot be corners: too few to go against it.
    assert suspicion([*corners[:-1], (500, 200, 300, 400)]) is None


def test_one_or_two_boxes_say_nothing():
    assert suspicion([(300, 200, 500, 400)] * 2) is None


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1))
def test_one_box_of_fractions_is_enough(rows):
    assert suspicion(rows).kind == "boxes are fractions"
    assert suspicion(rows, width=3, height=3) is None  # there, pixels are as small


def test_boxes_that_fit_no_format_may_be_of_other_images():
    rows = [(300, 200, 400, 100), (10, 200, 25, 400)] * 10
    assert "20 of 20 boxes; are they those of other images?" in suspicion(rows).detail


def test_no_boxes():
    assert suspicion([]) is None
