"""Squeeze-and-excitation against torchvision's layer and timm's widths."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.backbone.squeeze import SqueezeExcite


@pytest.mark.parametrize("channels", [5, 64, 200])
def test_equals_torchvision_with_its_names(channels):
    ours = SqueezeExcite(channels)
    theirs = torchvision.ops.SqueezeExcitation(channels, ours.fc1.out_channels)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 7, 5)
    with torch.no_grad():
        # A mean over 35 pixels, summed in another order: float32's rounding.
        torch.testing.assert_close(ours(x), theirs(x))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000))
def test_widths_are_timms(channels):
    timm_layers = pytest.importorskip("timm.layers")
    with torch.device("meta"):
        ours, theirs = SqueezeExcite(channels), timm_layers.SEModule(channels)
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == {
        name: tensor.shape for name, tensor in theirs.state_dict().items()
    }


@pytest.mark.parametrize(("channels", "squeezed"), [(64, 8), (191, 8), (192, 16), (2048, 128)])
def test_a_sixteenth_rounded_to_a_multiple_of_eight(channels, squeezed):
    assert SqueezeExcite(channels).fc1.out_channels == squeezed


def test_the_input_is_not_overwritten_and_each_image_weighs_its_own_channels():
    layer, x = SqueezeExcite(16), torch.randn(3, 16, 5, 7)
    before = x.clone()
    with torch.no_grad():
        found = layer(x)
        assert torch.equal(x, before)
        torch.testing.assert_close(found[1:2], layer(x[1:2]))
    weights = found / x
    torch.testing.assert_close(weights, weights[:, :, :1, :1].expand_as(x))
    assert ((weights > 0) & (weights < 1)).all()
