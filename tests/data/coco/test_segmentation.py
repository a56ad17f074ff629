"""What the checks let through must mean to pycocotools what it means here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from resnet_backbone.data.coco.segmentation import (
    BadSegmentation,
    decode_counts,
    finite_numbers,
    parse_polygons,
    parse_rle,
)

sides = st.integers(1, 24)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=20,
)


def reference_mask(runs, height, width):
    """COCO's definition: runs of 0 and 1 in turns, down the columns."""
    values = np.repeat(np.arange(len(runs)) % 2, runs)
    return values.reshape(width, height).T.astype(bool)


@st.composite
def masks(draw):
    height, width = draw(sides), draw(sides)
    seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    return np.random.default_rng(seed).random((height, width)) < density


@st.composite
def splits(draw):
    """Runs that add up to a size, empty ones included."""
    height, width = draw(sides), draw(sides)
    cuts = draw(st.lists(st.integers(0, height * width), max_size=12))
    runs = np.diff([0, *sorted(cuts), height * width]).tolist()
    return runs, height, width


@settings(max_examples=200, deadline=None)
@given(masks())
def test_compressed_text_is_decoded_as_pycocotools_does(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = mask.shape
    text = rle["counts"].decode()
    assert np.array_equal(reference_mask(decode_counts(text), height, width), mask)
    parsed = parse_rle({"size": [height, width], "counts": text}, height, width)
    assert np.array_equal(coco_mask.decode(parsed).astype(bool), mask)


@settings(max_examples=200, deadline=None)
@given(splits())
def test_accepted_runs_decode_equal_in_pycocotools(case):
    runs, height, width = case
    parsed = parse_rle({"size": [height, width], "counts": runs}, height, width)
    expected = reference_mask(runs, height, width)
    assert np.array_equal(coco_mask.decode(parsed).astype(bool), expected)
    assert coco_mask.area(parsed) == expected.sum()


@settings(max_examples=300, deadline=None)
@given(sides, sides, ANYTHING | st.text(st.characters(min_codepoint=48, max_codepoint=112)))
def test_any_counts_are_decoded_or_refused(height, width, counts):
    try:
        parsed = parse_rle({"size": [height, width], "counts": counts}, height, width)
    except BadSegmentation:
        return
    assert coco_mask.decode(parsed).shape == (height, width)


numbers = st.one_of(
    st.floats(-60, 90), st.floats(allow_nan=True, allow_infinity=True), st.integers()
)
polygon_lists = st.lists(st.lists(st.floats(-30, 60), max_size=14), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.one_of(polygon_lists, st.lists(st.lists(numbers, max_size=9)), st.lists(ANYTHING)))
def test_any_polygons_are_rasterised_or_refused(polygons):
    height, width = 20, 30
    try:
        usable, short = parse_polygons(polygons, height, width)
    except BadSegmentation:
        return
    assert len(usable) + short == len(polygons)
    for corners in usable:
        assert corners.shape[1] == 2 and corners.dtype == np.float64
        assert corners.min() >= -60 and corners.max() <= 90  # within twice the longer side
    if usable:
        rles = coco_mask.frPyObjects([corners.ravel().tolist() for corners in usable], 20, 30)
        assert coco_mask.decode(coco_mask.merge(rles)).shape == (height, width)


@settings(max_examples=200, deadline=None)
@given(ANYTHING)
def test_finite_numbers_are_those_that_floats_hold(values):
    expected = isinstance(values, list) and all(
        type(value) in (int, float) and -1e9 < value < 1e9 for value in values
    )
    assert finite_numbers(values) == expected


def test_the_reference_by_hand():
    expected = np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)
    assert np.array_equal(reference_mask([1, 3, 2], 2, 3), expected)
    parsed = parse_rle({"size": [2, 3], "counts": [1, 3, 2]}, 2, 3)
    assert np.array_equal(coco_mask.decode(parsed), expected)


@pytest.mark.parametrize("size", [None, [3, 2], [2, 3, 1], "2x3", [0, 640]])
def test_the_size_must_be_the_image_s(size):
    with pytest.raises(BadSegmentation, match="RLE size"):
        parse_rle({"size": size, "counts": [6]}, 2, 3)
