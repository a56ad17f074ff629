"""First weights against the distributions that their sources name."""

import math

import pytest
import torch
from torch import nn

from resnet_backbone.detection.init import init_msra, init_normal, init_xavier

# 3x3, 64 -> 128: 73,728 draws, so a measured deviation is within 1 % (four standard errors).
FAN_IN, FAN_OUT = 64 * 9, 128 * 9


def layer():
    made = nn.Conv2d(64, 128, 3)
    nn.init.ones_(made.bias)
    return made


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        (lambda conv: init_normal(conv, std=0.01), 0.01),
        (init_xavier, 1 / math.sqrt(FAN_IN)),  # U(-a, a) deviates by a / sqrt(3)
        (init_msra, math.sqrt(2 / FAN_OUT)),
    ],
    ids=["normal", "xavier", "msra"],
)
def test_spread_and_zero_bias(init, deviation):
    conv = layer()
    init(conv)
    assert conv.weight.std().item() == pytest.approx(deviation, rel=0.011)
    assert abs(conv.weight.mean().item()) < 4 * deviation / math.sqrt(conv.weight.numel())
    assert (conv.bias == 0).all()


def test_xavier_is_uniform_up_to_its_bound():
    conv = layer()
    init_xavier(conv)
    bound = math.sqrt(3 / FAN_IN)
    assert 0.999 * bound < conv.weight.abs().max() <= bound


def test_layers_without_bias_and_several_at_once():
    layers = [nn.Linear(8, 8, bias=False), nn.ConvTranspose2d(8, 8, 2)]
    before = [made.weight.clone() for made in layers]
    init_normal(*layers, std=1.0)
    assert not any(torch.equal(a, b.weight) for a, b in zip(before, layers, strict=True))
