"""Initialisation of the detector's own layers."""

from __future__ import annotations

from torch import nn

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def init_normal(*layers: Layer, std: float) -> None:
    """Initialises weights from N(0, std^2) and biases with 0, in place."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def init_xavier(*layers: Layer) -> None:
    """Initialises weights from U(-sqrt(3 / fan_in), sqrt(3 / fan_in)) and biases with 0, in place.

    This is Caffe2's XavierFill, which the reference implementations use for FPN and the box head.
    """
    for layer in layers:
        nn.init.kaiming_uniform_(layer.weight, a=1)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def init_msra(*layers: Layer) -> None:
    """Initialises weights from N(0, 2 / fan_out) and biases with 0, in place.

    He et al. 2015, "Delving Deep into Rectifiers", equation 14.
    """
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
