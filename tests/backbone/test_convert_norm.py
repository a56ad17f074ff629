"""Batch normalisations that are already part of a network, made frozen or shared."""

import pytest
import torch
from torch import nn

from resnet_backbone.backbone.convert_norm import convert_norms
from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.errors import ConfigError


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.BatchNorm2d(8)))
    for norm in (net[1], net[2][0]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
    return net.eval()


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("BN", nn.BatchNorm2d), ("FrozenBN", FrozenBatchNorm2d), ("SyncBN", nn.SyncBatchNorm)],
)
def test_every_norm_is_converted_and_computes_the_same(kind, layer):
    net, images = network(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = net(images)
        convert_norms(net, kind)
        assert type(net[1]) is type(net[2][0]) is layer
        torch.testing.assert_close(net(images), expected)
    names = {n for n in network().state_dict() if not n.endswith("num_batches_tracked")}
    assert names <= set(net.state_dict())


def test_weights_can_be_loaded_afterwards():
    converted = network()
    convert_norms(converted, "FrozenBN")
    other, images = network(), torch.randn(2, 3, 8, 8)
    nn.init.normal_(other[1].bias)
    converted.load_state_dict(other.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(converted.train()(images), other(images))


@pytest.mark.parametrize("kind", ["GN", "LN"])
def test_another_kind_has_no_weights(kind):
    with pytest.raises(ConfigError, match=f"^norm: got '{kind}', expected BN, FrozenBN or SyncBN"):
        convert_norms(network(), kind)
