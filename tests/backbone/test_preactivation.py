"""Blocks against the order of layers in the paper's figure; whole networks in test_classifier."""

import pytest
import torch
from comparison import randomise_norms
from torch.nn import functional as F

from resnet_backbone.backbone.blocks import BlockPosition, BlockStyle
from resnet_backbone.backbone.preactivation import PreActivationBasicBlock, PreActivationBottleneck

KINDS = [PreActivationBasicBlock, PreActivationBottleneck]


def trained(kind, in_channels, width, position, style):
    block = kind(in_channels, width, position, style).double().eval()
    randomise_norms(block)
    return block


def normed(x, norm):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def residual(block, x, strides, groups=1):
    """He et al. 2016, "Identity Mappings", figure 4e: norm, ReLU, convolution, and again."""
    for index, stride in enumerate(strides, start=1):
        weight = getattr(block, f"conv{index}").weight
        x = normed(x, getattr(block, f"bn{index}")).relu()
        padding = weight.shape[-1] // 2
        x = F.conv2d(x, weight, None, stride, padding, groups=groups if padding else 1)
    return x


@pytest.mark.parametrize(
    ("kind", "in_1x1", "strides"),
    [
        (PreActivationBasicBlock, False, (2, 1)),
        (PreActivationBasicBlock, True, (2, 1)),
        (PreActivationBottleneck, False, (1, 2, 1)),
        (PreActivationBottleneck, True, (2, 1, 1)),
    ],
)
def test_a_projection_sees_the_activated_input_and_has_no_norm(kind, in_1x1, strides):
    style = BlockStyle(stride_in_1x1=in_1x1)
    block = trained(kind, 6, 8, BlockPosition(stride=2), style)
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64)
    (weight,) = block.downsample.parameters()
    shortcut = F.conv2d(normed(x, block.bn1).relu(), weight, None, 2)
    with torch.no_grad():
        torch.testing.assert_close(block(x), shortcut + residual(block, x, strides))


@pytest.mark.parametrize("kind", KINDS)
def test_where_shapes_agree_the_input_is_added_untouched(kind):
    block = trained(kind, 8 * kind.expansion, 8, BlockPosition(), BlockStyle())
    assert block.downsample is None
    x = torch.randn(2, 8 * kind.expansion, 7, 5, dtype=torch.float64)
    with torch.no_grad():
        found = block(x)
        torch.testing.assert_close(found, x + residual(block, x, (1,) * (2 + block.expansion // 4)))
    assert (found < 0).any()  # nothing activates the sum


def test_option_a_pads_the_activated_input():
    block = trained(PreActivationBasicBlock, 4, 8, BlockPosition(2), BlockStyle(shortcut="A"))
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    shortcut = torch.zeros(2, 8, 4, 3, dtype=torch.float64)
    shortcut[:, 2:6] = normed(x, block.bn1).relu()[:, :, ::2, ::2]
    with torch.no_grad():
        torch.testing.assert_close(block(x), shortcut + residual(block, x, (2, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_block_has_no_shortcut(kind):
    """Neither where it would project nor where it would be the input itself."""
    for in_channels, stride in ((6, 2), (8 * kind.expansion, 1)):
        block = trained(kind, in_channels, 8, BlockPosition(stride), BlockStyle(shortcut="none"))
        x = torch.randn(2, in_channels, 7, 5, dtype=torch.float64)
        strides = (stride, 1) if kind.expansion == 1 else (1, stride, 1)
        with torch.no_grad():
            torch.testing.assert_close(block(x), residual(block, x, strides))


def test_the_middle_of_a_bottleneck_is_as_wide_as_its_groups_say():
    style = BlockStyle(groups=4, width_per_group=32)
    block = trained(PreActivationBottleneck, 8, 8, BlockPosition(), style)
    # 8 of 64 channels of one group are 4 of 32, times four groups (torchvision/models/resnet.py).
    assert block.conv2.weight.shape == (16, 4, 3, 3)
    x = torch.randn(1, 8, 5, 7, dtype=torch.float64)
    (weight,) = block.downsample.parameters()
    shortcut = F.conv2d(normed(x, block.bn1).relu(), weight)
    with torch.no_grad():
        torch.testing.assert_close(block(x), shortcut + residual(block, x, (1, 1, 1), groups=4))
