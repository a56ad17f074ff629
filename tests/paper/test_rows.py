"""How cells of a reproduced table are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.paper.rows import COMPUTED, NOTHING, Row, in_hours, not_run, percent, signed


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.0123, "about 0.012 GPU-hours"),
        (0.64, "about 0.64 GPU-hours"),
        (4.449, "about 4.4 GPU-hours"),
        (11.6, "about 12 GPU-hours"),
        (99.7, "about 100 GPU-hours"),
        (440.2, "about 440 GPU-hours"),
        (12345, "about 12345 GPU-hours"),
    ],
)
def test_estimates_have_two_digits_or_are_whole(hours, text):
    assert in_hours(hours) == text


@given(st.floats(1e-3, 1e5))
def test_an_estimate_is_off_by_a_twentieth_at_most(hours):
    about, number, unit = in_hours(hours).split(" ")
    assert (about, unit) == ("about", "GPU-hours")
    assert float(number) == pytest.approx(hours, rel=0.05)


def test_a_line_of_what_was_not_run_says_its_cost_and_a_remark():
    row = not_run("ResNet-20", "8.75", 0.64)
    assert row == Row("ResNet-20", "8.75", NOTHING, "-", "about 0.64 GPU-hours")
    assert not row.recorded
    assert not_run("x", "y", 12, "on the test set").how == "about 12 GPU-hours; on the test set"


def test_a_line_is_computed_now_unless_it_says_otherwise():
    row = Row("ResNet-50", "3.8", "3.86", "+0.06")
    assert row.how == COMPUTED and not row.recorded


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (8.745, "8.74"), (25, "25.00"), (0, "0.00")]
)
def test_percentages_have_two_decimals(value, text):
    assert percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.62, "+0.6"), (-1.25, "-1.2"), (0, "+0.0")])
def test_differences_have_their_sign(value, text):
    assert signed(value) == text
