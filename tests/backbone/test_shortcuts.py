"""Shortcuts against numpy, torch's pooling and timm's layers."""

import numpy as np
import pytest
import torch
from comparison import randomise_norms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from resnet_backbone.backbone.blocks import BasicBlock, BlockPosition, BlockStyle
from resnet_backbone.backbone.shortcuts import DilatedAverage, Projection, ZeroPadding
from resnet_backbone.backbone.stage import init_weights

sides = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(1, 3), sides, sides)
def test_zero_padding_skips_pixels_and_puts_the_channels_in_the_middle(
    channels, additional, stride, height, width
):
    x = torch.rand(2, channels, height, width) + 1  # no zeros of its own
    found = ZeroPadding(channels, channels + additional, stride)(x)
    before = additional // 2  # of an odd number, the larger half comes behind
    around = ((0, 0), (before, additional - before), (0, 0), (0, 0))
    np.testing.assert_array_equal(found, np.pad(x.numpy()[:, :, ::stride, ::stride], around))


def test_the_gradient_of_zero_padding_stays_channels_last():
    x = torch.randn(2, 4, 7, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    upstream = torch.randn(2, 8, 4, 3).contiguous(memory_format=torch.channels_last)
    (found,) = torch.autograd.grad(ZeroPadding(4, 8, 2)(x), x, upstream)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = torch.zeros(2, 4, 7, 5)
    expected[:, :, ::2, ::2] = upstream[:, 2:6]
    assert torch.equal(found, expected)


def test_option_a_is_subsampling_and_zeros():
    block = BasicBlock(4, 8, BlockPosition(stride=2), BlockStyle(shortcut="A"))
    init_weights(block, zero_init_residual=True)
    x = torch.rand(1, 4, 6, 6)
    with torch.no_grad():
        found = block(x)
    assert torch.equal(found[:, 2:6], x[:, :, ::2, ::2])
    assert not found[:, [0, 1, 6, 7]].any()
    assert not list(block.downsample.parameters())


def test_a_dilated_average_has_the_strided_one_at_every_second_pixel():
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    found = DilatedAverage()(x)
    assert found.shape == x.shape
    torch.testing.assert_close(found[:, :, ::2, ::2], F.avg_pool2d(x, 2))
    # Behind the last row and column are zeros.
    torch.testing.assert_close(found[:, :, -1, -1], x[:, :, -1, -1] / 4)


@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_an_averaging_projection_is_timms_with_its_names(stride, dilation, size):
    resnet = pytest.importorskip("timm.models.resnet")
    theirs = resnet.downsample_avg(3, 4, 1, stride, dilation).eval()
    randomise_norms(theirs)
    ours = Projection(3, 4, stride, nn.BatchNorm2d(4), average=True, dilated=dilation > 1).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_an_odd_last_row_is_averaged_over_the_pixels_it_has():
    projection = Projection(1, 1, 2, nn.Identity(), average=True)
    nn.init.ones_(projection[1].weight)
    x = torch.tensor([[1.0, 3, 10], [5, 7, 20], [2, 4, 50]])[None, None]
    assert projection(x)[0, 0].tolist() == [[4.0, 15.0], [3.0, 50.0]]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_projection_is_a_strided_1x1_convolution_and_its_norm(stride):
    norm = nn.BatchNorm2d(4)
    randomise_norms(norm)
    projection = Projection(3, 4, stride, norm).eval()
    assert set(dict(projection.named_parameters())) == {"0.weight", "1.weight", "1.bias"}
    x = torch.randn(2, 3, 7, 5)
    weight = projection[0].weight[:, :, 0, 0]
    with torch.no_grad():
        products = torch.einsum("bchw,oc->bohw", x[:, :, ::stride, ::stride], weight)
        torch.testing.assert_close(projection(x), norm(products))


@pytest.mark.parametrize("average", [False, True])
def test_without_its_norm_a_projection_is_what_the_norm_would_have_seen(average):
    norm = nn.BatchNorm2d(4)
    randomise_norms(norm)
    projection = Projection(3, 4, 2, norm, average=average).eval()
    bare = projection.without_norm()
    assert [name for name, _ in bare.named_parameters()] == [f"{int(average)}.weight"]
    x = torch.randn(2, 3, 7, 5)
    with torch.no_grad():
        torch.testing.assert_close(norm(bare(x)), projection(x))
