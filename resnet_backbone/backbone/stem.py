"""The stem: the layers before the first block."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from resnet_backbone.backbone.variants import Variant

Norm = Callable[[int], nn.Module]


def stem_stride(variant: Variant) -> int:
    """Returns the stride of the stem's output in input pixels."""
    return 1 if variant.stem == "cifar" else 4


def stem_conv(variant: Variant, in_channels: int, norm: Norm) -> nn.Module:
    """Returns the layers of the stem before its last norm."""
    channels = variant.widths[0]
    if variant.stem == "cifar":
        return nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    if variant.stem == "7x7":
        return nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
    narrow = channels // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, narrow, 3, stride=2, padding=1, bias=False),
        norm(narrow),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, narrow, 3, padding=1, bias=False),
        norm(narrow),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, channels, 3, padding=1, bias=False),
    )
