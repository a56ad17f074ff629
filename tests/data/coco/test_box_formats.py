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
    "sides": lambda x0, y0, x1, y1: (x0, x1, y0, y1),
    "rows first": lambda x0, y0, x1, y1: (y0, x0, y1 - y0, x1 - x0),
    "sides swapped": lambda x0, y0, x1, y1: (x0, y0, y1 - y0, x1 - x0),
    "corners, rows first": lambda x0, y0, x1, y1: (y0, x0, y1, x1),
    "percentages": lambda x0, y0, x1, y1: (
        *(100 * x0 / WIDTH, 100 * y0 / HEIGHT),
        *(100 * (x1 - x0) / WIDTH, 100 * (y1 - y0) / HEIGHT),
    ),
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
    "sides": "(x0, x1, y0, y1)?",
    "rows first": "(y, x, height, width)?",
    "corners, rows first": "(y0, x0, y1, x1)?",
    "percentages": "lie between 0 and 100 in images of 480 pixels or more, as percentages",
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


def test_in_square_images_rows_and_columns_may_be_either():
    rows = [FORMATS["corners"](*box) for box in boxes(40)]
    detail = suspicion(rows, width=WIDTH, height=WIDTH).detail
    assert "the format (x0, y0, x1, y1) or (y0, x0, y1, x1)? 40 of them fit" in detail


def test_boxes_far_beyond_the_border_are_a_sign_though_they_are_few():
    """Most boxes of (y, x, height, width) lie inside their image when read as COCO's."""
    rows = [(10, 20 + n, 90, 40) for n in range(40)] + [(100, 500, 50, 40)] * 2
    assert "2 of 42 boxes; are they in the format (y, x, height" in suspicion(rows).detail
    assert suspicion(rows[:-2] + [(100, 450, 50, 40)] * 2) is None  # by ten pixels


def test_height_before_width_is_told_where_it_leads_out_of_the_image():
    rows = [FORMATS["sides swapped"](*box) for box in boxes(100)]
    assert "are they in the format (x, y, height, width)? 100 of them fit" in suspicion(rows).detail
    # Boxes of amodal objects cross the left border, too, which no order of the sides explains.
    amodal = [FORMATS["COCO"](x0 - 80, y0, x1 + 80, y1) for x0, y0, x1, y1 in boxes(100)]
    assert suspicion(amodal) is None


def test_areas_tell_corners_that_lie_inside_the_image():
    formats = BoxFormats()
    for n in range(5):
        x0, y0, x1, y1 = 3 + n, 4 + n, 60, 70
        formats.add((x0, y0, x1, y1), WIDTH, HEIGHT, (x1 - x0) * (y1 - y0))
    assert "5 of 5 boxes have this area if they are in the format (x0, y0" in (
        formats.suspicion().detail
    )
    assert formats.suspicion(confirmed=True) is None


def test_outlines_that_confirm_the_boxes_leave_only_other_images_to_ask_for():
    formats = BoxFormats()
    for box in boxes(40):
        formats.add(FORMATS["corners"](*box), WIDTH, HEIGHT)
    assert "are they those of other images?" in formats.suspicion(confirmed=True).detail


def test_few_boxes_in_percent_are_noted():
    """They may well be pixels."""
    formats = BoxFormats()
    for box in [(10, 20, 60, 70), (5, 6, 7, 8), (40, 30, 20, 10)]:
        formats.add(box, WIDTH, HEIGHT)
    assert formats.suspicion() is None
    assert formats.note().startswith("3 of 3 boxes lie between 0 and 100 in images of 480 pixels")
    formats.add((10, 20, 200, 10), WIDTH, HEIGHT)
    assert formats.note() is None


def test_boxes_in_percent_of_small_images_are_noted():
    """They may be pixels, but such boxes hardly end just there in both directions."""
    formats, pixels = BoxFormats(), BoxFormats()
    for box in boxes(100):
        formats.add(FORMATS["percentages"](*box), 160, 120)
        pixels.add([value / 4 for value in FORMATS["COCO"](*box)], 160, 120)
    assert formats.suspicion() is None and pixels.note() is None
    assert formats.note().startswith("100 of 100 boxes lie between 0 and 100 in images of 120 pix")
    formats.add((10, 20, 95, 10), 160, 120)
    assert formats.note() is None


def test_no_boxes():
    assert BoxFormats().note() is None
    assert suspicion([]) is None
