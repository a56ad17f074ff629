"""Deformable convolution against sums over taps, written down one by one."""

import itertools

import numpy as np
import pytest
import torch
from comparison import relative_error
from torch import nn
from torch.nn import functional as F

from resnet_backbone.backbone.deform import DeformConv2d, convolve
from resnet_backbone.backbone.norm import FrozenBatchNorm2d, conv_norm
from resnet_backbone.create import create_backbone


def at(image, y, x):
    """Bilinear: the value of float64[H, W] at a place between its pixels, zeros outside."""
    value = 0.0
    top, left = np.floor(y), np.floor(x)
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            share = (1 - abs(y - row)) * (1 - abs(x - column))
            value += share * image[int(row), int(column)]
    return value


def deformed(x, conv):
    """Zhu et al. 2019, equation 1: each tap at its place plus its offset, times its weight."""
    given = F.conv2d(
        x, conv.offset.weight, conv.offset.bias, conv.stride, conv.padding, conv.dilation
    )
    offsets = given[:, :18].unflatten(1, (9, 2)).detach().numpy()
    weights = given[:, 18:].sigmoid().detach().numpy()
    kernel, images = conv.weight.detach().numpy(), x.numpy()
    stride, dilation = conv.stride[0], conv.dilation[0]
    per_group = len(kernel) // conv.groups
    out = np.zeros((len(x), len(kernel), *given.shape[2:]))
    for n, row, column, tap in np.ndindex(len(x), *given.shape[2:], 9):
        down, right = offsets[n, tap, :, row, column]
        y = row * stride - dilation + tap // 3 * dilation + down
        x_ = column * stride - dilation + tap % 3 * dilation + right
        seen = np.array([at(channel, y, x_) for channel in images[n]])
        for group, own in enumerate(np.split(seen, conv.groups)):
            filters = kernel[group * per_group : (group + 1) * per_group, :, tap // 3, tap % 3]
            share = weights[n, tap, row, column] * filters @ own
            out[n, group * per_group : (group + 1) * per_group, row, column] += share
    return torch.from_numpy(out)


def make(in_channels, out_channels, *, stride=1, dilation=1, groups=1):
    """A layer whose taps move by pixels, some of them out of the image."""
    conv = DeformConv2d(
        in_channels, out_channels, stride=stride, dilation=dilation, groups=groups
    ).double()
    nn.init.normal_(conv.offset.weight, std=0.5)
    nn.init.normal_(conv.offset.bias)
    return conv


@pytest.mark.parametrize(
    ("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 3, 2)]
)
def test_is_the_papers_equation(stride, dilation, groups):
    conv = make(4, 6, stride=stride, dilation=dilation, groups=groups)
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), deformed(x, conv))


def test_the_taps_begin_in_their_places_with_half_their_weight():
    conv = DeformConv2d(3, 5, stride=2, dilation=2, groups=1).double()
    x = torch.randn(1, 3, 9, 11, dtype=torch.float64)
    expected = F.conv2d(x, conv.weight, None, 2, padding=2, dilation=2) / 2
    torch.testing.assert_close(conv(x), expected)
    moved = make(3, 5)
    assert not torch.allclose(moved(x), F.conv2d(x, moved.weight, None, padding=1) / 2)
    moved.reset_offsets()
    torch.testing.assert_close(moved(x), F.conv2d(x, moved.weight, None, padding=1) / 2)


def test_gradients_are_those_of_finite_differences():
    conv = make(2, 3)
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    leaves = (x, conv.weight, conv.offset.weight, conv.offset.bias)
    names = ("weight", "offset.weight", "offset.bias")

    def call(x, *parameters):
        return torch.func.functional_call(conv, dict(zip(names, parameters, strict=True)), x)

    assert torch.autograd.gradcheck(call, leaves)


def test_a_frozen_norm_folds_into_it():
    conv, norm = make(4, 6, stride=2), FrozenBatchNorm2d(6).double()
    for tensor in norm.buffers():
        nn.init.uniform_(tensor, 0.5, 2.0)
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(conv_norm(x, conv, norm), norm(conv(x)))


def test_other_convolutions_are_computed_as_ever_with_the_given_weights():
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    x, weight, bias = torch.randn(2, 4, 7, 5), torch.randn(6, 2, 3, 3), torch.randn(6)
    found = convolve(x, conv, weight, bias)
    assert torch.equal(found, F.conv2d(x, weight, bias, 2, 1, groups=2))


def test_a_deformable_stage_begins_as_an_ordinary_one_of_half_the_weight():
    """Zhu et al. 2019, section 3.2: zero offsets, and sigmoid(0) = 1/2 on every tap."""
    ordinary = create_backbone("resnet18", norm="BN").eval()
    net = create_backbone("resnet18", norm="BN", deformable=("res5",)).eval()
    state = ordinary.state_dict()
    for key in ("layer4.0.conv1", "layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"):
        state[f"{key}.weight"] = state[f"{key}.weight"] * 2
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected
    assert {key.rpartition(".")[0].rpartition(".")[2] for key in missing} == {"offset"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(net(images)["res5"], ordinary(images)["res5"]) < 1e-5


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_deformable_convolutions_learn_where_to_look(name):
    net = create_backbone(name, norm="BN", deformable=("res3", "res4", "res5"), output_stride=16)
    net(torch.randn(2, 3, 64, 64))["res5"].square().mean().backward()
    offsets = {k: p for k, p in net.named_parameters() if ".offset." in k}
    # Two per basic block, one per bottleneck; 2 and 2 and 2, or 4 and 6 and 3 blocks.
    assert len(offsets) == 2 * (12 if name == "resnet18" else 13)
    assert all(p.grad is not None and p.grad.any() for p in offsets.values())


def test_deformable_features_do_not_depend_on_the_memory_format():
    net = create_backbone("resnet18", deformable=("res5",))
    torch.nn.init.normal_(net.layer4[0].conv1.offset.weight, std=0.1)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net.to(memory_format=torch.contiguous_format)(images)["res5"]
        found = net.to(memory_format=torch.channels_last)(images)["res5"]
    assert relative_error(found, expected) < 1e-5
