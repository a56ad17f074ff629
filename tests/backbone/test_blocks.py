"""Blocks: gradients through in-place operations, shortcuts, initialisation."""

import math

import pytest
import torch

from resnet_backbone.backbone.blocks import BasicBlock, BlockPosition, BlockStyle, Bottleneck
from resnet_backbone.backbone.preactivation import PreActivationBasicBlock, PreActivationBottleneck

BLOCKS = [BasicBlock, Bottleneck, PreActivationBasicBlock, PreActivationBottleneck]
PLAIN = BlockStyle()


@pytest.mark.parametrize("norm", ["BN", "FrozenBN", "GN"])
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_those_of_finite_differences(block, stride, norm):
    """In-place ReLU and sum must leave everything that the backward pass needs."""
    in_channels = 32 * block.expansion
    net = block(in_channels, 32, BlockPosition(stride), BlockStyle(norm)).double()
    x = torch.randn(2, in_channels, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, x, fast_mode=True)
    weight = net.conv1.weight
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(net, {"conv1.weight": w}, x), weight, fast_mode=True
    )


@pytest.mark.parametrize(
    ("in_channels", "stride", "projected"),
    [(64, 1, False), (64, 2, True), (32, 1, True)],
)
def test_projection_where_shapes_differ(in_channels, stride, projected):
    block = BasicBlock(in_channels, 64, BlockPosition(stride), PLAIN)
    assert (block.downsample is not None) == projected


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_input_is_not_overwritten(kind):
    width = 64 // kind.expansion
    block = kind(64, width, BlockPosition(), BlockStyle("FrozenBN"))
    x = torch.randn(1, 64, 4, 4)
    before = x.clone()
    with torch.no_grad():
        block(x)
    assert torch.equal(x, before)


def test_option_c_projects_where_shapes_agree():
    block = BasicBlock(8, 8, BlockPosition(), BlockStyle(shortcut="C"))
    assert block.downsample[0].weight.shape == (8, 8, 1, 1)


def test_a_plain_block_has_no_shortcut():
    block = BasicBlock(8, 8, BlockPosition(), BlockStyle(shortcut="none")).eval()
    x = torch.rand(1, 8, 6, 6)
    with torch.no_grad():
        assert torch.equal(block(x), torch.relu(block.residual(x)))


@pytest.mark.parametrize("block", BLOCKS)
def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean(block):
    """Huang et al. 2016: with probability 1/4 a sample is its shortcut, otherwise F(x) / (3/4)."""
    width = 8 // block.expansion
    net = block(8, width, BlockPosition(drop_rate=0.25), BlockStyle("FrozenBN"))
    x = torch.rand(1, 8, 4, 4).expand(2000, -1, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        found = net.train()(x)
        kept = [not torch.equal(row, shortcut) for row, shortcut in zip(found, x, strict=True)]
        # Four deviations of a binomial share of 2000.
        assert abs(sum(kept) / 2000 - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 2000)
        assert len({row.sum().item() for row in found}) == 2
        once = net.eval()(x[:1])
        assert torch.equal(net(x[1:2]), once)
