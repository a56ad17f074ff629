"""Backbones by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from resnet_backbone.backbone.blocks import Stage, init_weights
from resnet_backbone.backbone.resnet import WIDTHS, ResNet
from resnet_backbone.backbone.variants import BACKBONES, Variant
from resnet_backbone.errors import ConfigError


def create_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
    norm: str = "FrozenBN",
    freeze_at: int = 0,
    stride_in_1x1: bool = False,
    in_channels: int = 3,
    res5_dilation: int = 1,
) -> ResNet:
    """Builds a ResNet in channels_last memory format.

    Args:
        name: A registered name, see `list_backbones`.
        weights: What `load_weights` takes: a file, or "torchvision/IMAGENET1K_V1"; None leaves the
            random initialisation, which trains with "BN" or "GN" but hardly with "FrozenBN", whose
            statistics are then those of no data.
        out_features: Which of "stem", "res2" to "res5" to return; later stages are not built.
        norm: "BN", "FrozenBN", "SyncBN" or "GN".
        freeze_at: How many stages to freeze, see `ResNet.freeze`.
        stride_in_1x1: True for the paper's bottleneck, False for torchvision's, see `Bottleneck`.
        in_channels: Channels of the input.
        res5_dilation: 2 for DC5: res5 keeps res4's stride of 16 and dilates by 2.

    Raises:
        ConfigError: an argument is none of the allowed values.
        WeightsError: the weights cannot be read, or do not cover the network.
    """
    net = ResNet(
        name,
        _variant(name),
        out_features=out_features,
        norm=norm,
        stride_in_1x1=stride_in_1x1,
        in_channels=in_channels,
        res5_dilation=res5_dilation,
    )
    if weights is not None:
        # Imported here because reading files is a layer above: `weights` knows backbones.
        from resnet_backbone.weights.load import load_weights

        load_weights(net, weights)
    net.freeze(freeze_at)
    return net.to(memory_format=torch.channels_last)


def create_res5(name: str, *, norm: str = "FrozenBN", stride_in_1x1: bool = False) -> Stage:
    """Builds res5 alone, which the C4 detectors run on every region (the paper, appendix A).

    Args:
        name: A registered name, see `list_backbones`.
        norm: "BN", "FrozenBN", "SyncBN" or "GN".
        stride_in_1x1: See `Bottleneck`.

    Returns:
        A stage in channels_last that maps float[N, channels of res4, S, S] to float[N,
        stage.out_channels, S / 2, S / 2]. `load_weights(stage, file, prefix="layer4.")` fills it
        from a file of the whole network.

    Raises:
        ConfigError: an argument is none of the allowed values.
    """
    variant = _variant(name)
    res5 = Stage(
        variant.block,
        variant.counts[3],
        WIDTHS["res4"] * variant.block.expansion,
        WIDTHS["res5"],
        stride=2,
        norm=norm,
        stride_in_1x1=stride_in_1x1,
    )
    init_weights(res5)
    return res5.to(memory_format=torch.channels_last)


def list_backbones(pattern: str = "*") -> list[str]:
    """Returns the registered names that match a shell `pattern`, sorted."""
    return BACKBONES.names(pattern)


def _variant(name: str) -> Variant:
    try:
        return BACKBONES.get(name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from None
