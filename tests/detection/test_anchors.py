"""Anchors against a plain loop over cells, sizes and ratios."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.detection.anchors import AnchorGenerator


def reference(height, width, stride, sizes, ratios):
    """Row by row, cell by cell, size by size, ratio by ratio; centred on the cell's corner."""
    anchors = []
    for y in range(height):
        for x in range(width):
            for size in sizes:
                for ratio in ratios:
                    w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
                    centre_x, centre_y = x * stride, y * stride
                    anchors.append(
                        [centre_x - w / 2, centre_y - h / 2, centre_x + w / 2, centre_y + h / 2]
                    )
    return np.array(anchors)


def maps(*shapes):
    return [torch.zeros(2, 3, *shape) for shape in shapes]


length = st.integers(1, 6)


@settings(max_examples=40, deadline=None)
@given(
    length,
    length,
    st.sampled_from([4, 16, 32]),
    st.lists(st.floats(1, 600), min_size=1, max_size=3),
    st.lists(st.floats(0.1, 10), min_size=1, max_size=3),
)
def test_equals_a_plain_loop(height, width, stride, sizes, ratios):
    generator = AnchorGenerator([stride], [sizes], ratios)
    assert generator.per_cell == len(sizes) * len(ratios)
    (found,) = generator(maps((height, width)))
    assert found.dtype == torch.float32
    # Corners of up to 1200 px carry a float32 rounding of 6e-5 px each way.
    np.testing.assert_allclose(found, reference(height, width, stride, sizes, ratios), atol=3e-4)


def test_every_map_has_its_own_stride_and_sizes():
    generator = AnchorGenerator([4, 8], [[32.0], [64.0]], [0.5, 1.0, 2.0])
    fine, coarse = generator(maps((4, 6), (2, 3)))
    np.testing.assert_allclose(fine, reference(4, 6, 4, [32], [0.5, 1, 2]), atol=1e-5)
    np.testing.assert_allclose(coarse, reference(2, 3, 8, [64], [0.5, 1, 2]), atol=1e-5)


def test_one_tuple_of_sizes_serves_all_maps():
    shared = AnchorGenerator([4, 8], [[16.0, 32.0]], [1.0])
    spelled = AnchorGenerator([4, 8], [[16.0, 32.0]] * 2, [1.0])
    features = maps((2, 2), (1, 1))
    for found, expected in zip(shared(features), spelled(features), strict=True):
        assert torch.equal(found, expected)


def test_anchors_are_kept_per_shape_and_forgotten_before_they_pile_up():
    generator = AnchorGenerator([4], [[16.0]], [1.0])
    first = generator(maps((2, 3)))
    assert generator(maps((2, 3))) is first
    assert generator(maps((3, 2))) is not first
    for width in range(1, 200):
        generator(maps((1, width)))
    assert len(generator._cache) <= 64
    assert torch.equal(generator(maps((2, 3)))[0], first[0])


def test_contradicting_sizes_are_refused():
    with pytest.raises(ValueError, match="2 tuples of anchor sizes for 3 feature maps"):
        AnchorGenerator([4, 8, 16], [[32.0], [64.0]], [1.0])
    with pytest.raises(ValueError, match="same number of anchors per cell"):
        AnchorGenerator([4, 8], [[32.0], [64.0, 128.0]], [1.0])
