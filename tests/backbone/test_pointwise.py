"""1x1 convolutions as matrix products, against torch's convolution."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_backbone.backbone import pointwise
from resnet_backbone.backbone.pointwise import PointwiseConv2d

CHANNELS_LAST = torch.channels_last


@pytest.fixture(autouse=True)
def _intel(monkeypatch):
    monkeypatch.setattr(pointwise, "has_fast_matrix_products", lambda: True)


def operators(layer, x):
    """The names of the operations that the gradient of layer(x) goes through."""
    found, nodes = set(), [layer(x).grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            found.add(node.name())
            nodes += [parent for parent, _ in node.next_functions]
    return found


def channels_last(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=CHANNELS_LAST)


@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_a_convolution_in_both_directions(stride, size):
    layer = PointwiseConv2d(6, 8, stride).double().to(memory_format=CHANNELS_LAST)
    x = channels_last(3, 6, *size, dtype=torch.float64).requires_grad_()
    out = layer(x)
    upstream = torch.randn_like(out)
    expected = F.conv2d(x, layer.weight, None, stride)
    found = torch.autograd.grad(out, (x, layer.weight), upstream)
    torch.testing.assert_close(out, expected)
    for own, other in zip(
        found, torch.autograd.grad(expected, (x, layer.weight), upstream), strict=True
    ):
        torch.testing.assert_close(own, other)
    assert out.is_contiguous(memory_format=CHANNELS_LAST)


def test_gradients_can_be_differentiated_again():
    layer = PointwiseConv2d(3, 2).double()
    x = channels_last(2, 3, 2, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: layer._conv_forward(x, w, None), (x, layer.weight))
    assert torch.autograd.gradgradcheck(
        lambda x, w: layer._conv_forward(x, w, None), (x, layer.weight)
    )


def test_is_a_product_only_where_that_is_faster():
    x = channels_last(2, 4, 3, 3)
    assert "ConvolutionBackward0" not in operators(PointwiseConv2d(4, 8), x)
    assert "ConvolutionBackward0" in operators(PointwiseConv2d(4, 8), x.contiguous())
    assert "ConvolutionBackward0" in operators(PointwiseConv2d(4, 8, 2), x)


def test_is_a_convolution_where_products_are_slow(monkeypatch):
    monkeypatch.setattr(pointwise, "has_fast_matrix_products", lambda: False)
    assert "ConvolutionBackward0" in operators(PointwiseConv2d(4, 8), channels_last(2, 4, 3, 3))


def test_exports_as_a_convolution():
    program = torch.export.export(PointwiseConv2d(4, 8), (channels_last(2, 4, 3, 3),))
    assert "conv2d" in program.graph_module.code


def test_remains_a_layer_that_hooks_and_copies_know():
    layer = PointwiseConv2d(4, 8)
    seen = []
    layer.register_forward_hook(lambda *arguments: seen.append(arguments[2].shape))
    copied = copy.deepcopy(layer)
    x = channels_last(2, 4, 3, 3)
    torch.testing.assert_close(copied(x), F.conv2d(x, layer.weight), atol=1e-6, rtol=1e-5)
    assert seen == [(2, 8, 3, 3)]
    assert list(layer.state_dict()) == ["weight"] and isinstance(layer, nn.Conv2d)


def test_autocast_lowers_the_precision_as_of_a_convolution():
    layer, x = PointwiseConv2d(4, 8), channels_last(2, 4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
