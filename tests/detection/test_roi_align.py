"""RoIAlign on the CPU against torchvision's kernel."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.detection.roi_align import roi_align

HEIGHT, WIDTH, STRIDE = 12, 17, 8

boxes = st.tuples(
    st.integers(0, 1),
    st.floats(-60, 160, width=32),
    st.floats(-60, 120, width=32),
    st.floats(0, 200, width=32),
    st.floats(0, 200, width=32),
).map(lambda b: [b[0], b[1], b[2], b[1] + b[3], b[2] + b[4]])


def both(rois, resolution=7, memory_format=torch.channels_last):
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(2, 5, HEIGHT, WIDTH, generator=generator)
    ours = feature.clone(memory_format=memory_format).requires_grad_()
    theirs = feature.clone().requires_grad_()
    found = roi_align(ours, rois, resolution, 1 / STRIDE)
    expected = torchvision.ops.roi_align(theirs, rois, resolution, 1 / STRIDE, 0, aligned=True)
    return (found, ours), (expected, theirs)


@settings(max_examples=150, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=6))
def test_equals_torchvision_forward_and_backward(rois):
    (found, ours), (expected, theirs) = both(torch.tensor(rois))
    # Sample positions near 20 cells are rounded to 2e-6, features change by about 3 per cell.
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 0, WIDTH * STRIDE, HEIGHT * STRIDE],  # the whole image
        [1, 30, 30, 30, 30],  # no area
        [0, -500, -500, -400, -400],  # outside
        [0, 3, 40, 130, 40.5],  # thin
        [1, 4, 4, 12, 12],  # samples exactly on cells
    ],
)
@pytest.mark.parametrize("resolution", [1, 7, 14])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_special_boxes(box, resolution, memory_format):
    (found, _), (expected, _) = both(torch.tensor([box]).float(), resolution, memory_format)
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)


def test_no_regions_give_an_empty_result_that_backward_accepts():
    feature = torch.randn(1, 3, 8, 8, requires_grad=True)
    found = roi_align(feature, torch.zeros(0, 5), 7, 0.25)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert feature.grad.abs().sum() == 0
