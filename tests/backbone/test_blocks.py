"""Blocks: gradients through in-place operations, shortcuts, initialisation."""

import math

import pytest
import torch

from resnet_backbone.backbone.blocks import BasicBlock, Bottleneck, Stage, init_weights
from resnet_backbone.backbone.build import create_backbone


@pytest.mark.parametrize("norm", ["BN", "FrozenBN", "GN"])
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_those_of_finite_differences(block, stride, norm):
    """In-place ReLU and sum must leave everything that the backward pass needs."""
    in_channels = 32 * block.expansion
    net = block(in_channels, 32, stride=stride, norm=norm).double()
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
    block = BasicBlock(in_channels, 64, stride=stride)
    assert (block.downsample is not None) == projected


def test_the_input_is_not_overwritten():
    block = Bottleneck(64, 16, norm="FrozenBN")
    x = torch.randn(1, 64, 4, 4)
    before = x.clone()
    with torch.no_grad():
        block(x)
    assert torch.equal(x, before)


def test_stage_strides_once_and_dilates_everywhere():
    stage = Stage(Bottleneck, 3, 64, 32, stride=2, dilation=2)
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
        stage = Stage(BasicBlock, 1, 8, 8, stride=1)
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
