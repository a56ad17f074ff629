"""RoIAlign on the CPU against torchvision's kernel."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.detection.roi_align import _by_kernel, roi_align

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


def test_gradients_are_those_of_the_values():
    """Numerically, in float64; the regions themselves get no gradient."""
    feature = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 2, 30, 25], [1, -9, 4, 20, 60]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: roi_align(x, rois, 3, 1 / STRIDE), feature)


def test_regions_see_their_own_image_only():
    feature = torch.zeros(3, 1, 6, 6)
    feature[1] = 5.0
    rois = torch.tensor([[0, 8.0, 8, 32, 32], [1, 8, 8, 32, 32], [2, 8, 8, 32, 32]])
    found = roi_align(feature, rois, 2, 1 / STRIDE)
    assert found.flatten(1).tolist() == [[0.0] * 4, [5.0] * 4, [0.0] * 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_kernel_places_regions_in_float32_whatever_the_features_are(dtype):
    """What a GPU does, run here; far from the origin, where bfloat16 knows every fourth pixel."""
    ramp = torch.arange(128.0).expand(1, 1, 8, 128).to(dtype)  # exact in all three types
    rois = torch.tensor([[0, 803.0, 10, 831, 38], [0, 901, 10, 929, 38]])
    found = _by_kernel(ramp, rois, 2, 1 / STRIDE)
    assert found.dtype == dtype
    # On a ramp each bin is worth its centre: 7 px and 21 px into the region, in cells.
    centres = (rois[:, 1, None] + torch.tensor([7.0, 21.0])) / STRIDE - 0.5
    # Values near 100 are kept in steps of 0.5 in bfloat16.
    torch.testing.assert_close(found[:, 0, 0].float(), centres, atol=0.26, rtol=0)
    if dtype == torch.float32:
        torch.testing.assert_close(found, roi_align(ramp, rois, 2, 1 / STRIDE), atol=1e-4, rtol=0)
