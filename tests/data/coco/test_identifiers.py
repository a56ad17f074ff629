"""Ids as COCO, pandas and other tools write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.data.coco.identifiers import MAX_ID, Identifiers, as_id

ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
)


@given(st.integers(0, MAX_ID))
def test_integers_and_their_decimal_text_are_ids(number):
    assert as_id(number) == as_id(str(number)) == as_id(f"0{number}"[-19:]) == number


@given(st.integers(0, 2**53))
def test_whole_floats_are_ids(number):
    assert as_id(float(number)) == number


@given(ANYTHING)
def test_anything_else_is_none(value):
    found = as_id(value)
    assert found is None or (type(found) is int and 0 <= found <= MAX_ID)
    if isinstance(value, bool) or (isinstance(value, int | float) and value < 0):
        assert found is None


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), float("inf"), 1e300, True, "", "1.0", "-1", "+1", " 1", "\u0663"]
)
def test_values_that_mean_no_integer(value):
    assert as_id(value) is None


def test_what_is_not_written_as_coco_does_is_counted():
    ids = Identifiers()
    read = [ids.read(value, "images") for value in (1, 2.0, "3", "x", "y", None)]
    assert read == [1, 2, 3, None, None, None]
    assert ids.converted == {"images": 2}
    assert ids.text == {"images": 2} and ids.example == {"images": "x"}
