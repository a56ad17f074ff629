"""Blocks: gradients through in-place operations, shortcuts, initialisation."""

import math

import pytest
import torch

from resnet_backbone.backbone.blocks import BasicBlock, BlockPosition, BlockStyle, Bottleneck
from resnet_backbone.backbone.preactivation import PreActivationBasicBlock, PreActivationBottleneck
from resnet_backbone.backbone.stage import Stage, StageSpec, init_weights
from resnet_backbone.create import create_backbone

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


def test_stage_strides_once_and_dilates_everywhere():
    stage = Stage(Bottleneck, StageSpec(64, 32, 2, [0.0] * 3, dilation=2, first_dilation=2), PLAIN)
    assert [block.conv2.stride for block in stage] == [(2, 2), (1, 1), (1, 1)]
    assert {block.conv2.dilation for block in stage} == {(2, 2)}
    assert stage.out_channels == 128
    assert stage(torch.zeros(1, 64, 8, 8)).shape == (1, 128, 4, 4)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_initial_deviation_is_he_s(kernel):
    """sqrt(2 / (k * k * C_out)): He et al. 2015, equation 14."""
    conv = torch.nn.Conv2d(128, 64, kernel, bias=False)
    init_weights(conv)
    expected = math.sqrt(2 / (kernel * kernel * 64))
    # 8192 or more draws: the deviation's own deviation is below 0.8 %, the mean's below 1.2 %.
    assert abs(conv.weight.std().item() / expected - 1) < 0.04
    assert abs(conv.weight.mean().item() / expected) < 0.05


def test_initialisation_follows_the_seed():
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        stage = Stage(BasicBlock, StageSpec(8, 8, 1, [0.0]), PLAIN)
        init_weights(stage)
        return stage[0].conv2.weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_frozen_norms_without_statistics_keep_activations_in_range(name):
    """Each block adds 1 / blocks of the variance, so all together add a factor of e at most; the
    convolutions' own gain (fan_out, not fan_in) leaves room for another order of magnitude."""
    net = create_backbone(name, norm="FrozenBN").eval()
    with torch.no_grad():
        features = net(torch.randn(1, 3, 128, 128))
    assert all(0.05 < feature.std() < 10 for feature in features.values())


@pytest.mark.parametrize("block", BLOCKS)
def test_zero_init_makes_every_block_its_shortcut(block):
    """Goyal et al. 2017, section 5.1; after the ReLU, the input is not negative anyway."""
    width = 64 // block.expansion
    net = torch.nn.Sequential(*(block(64, width, BlockPosition(), PLAIN) for _ in range(3)))
    init_weights(net, zero_init_residual=True)
    x = torch.rand(2, 64, 8, 8)
    with torch.no_grad():
        assert torch.equal(net(x), x)


def test_option_a_is_subsampling_and_zeros():
    block = BasicBlock(4, 8, BlockPosition(stride=2), BlockStyle(shortcut="A"))
    init_weights(block, zero_init_residual=True)
    x = torch.rand(1, 4, 6, 6)
    with torch.no_grad():
        found = block(x)
    assert torch.equal(found[:, 2:6], x[:, :, ::2, ::2])
    assert not found[:, [0, 1, 6, 7]].any()
    assert not list(block.downsample.parameters())


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
