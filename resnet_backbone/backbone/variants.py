"""The table of networks: one line of numbers for each."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_backbone.backbone.blocks import BasicBlock, Bottleneck
from resnet_backbone.registry import Registry


@dataclass(frozen=True)
class Variant:
    """What distinguishes one ResNet from another.

    Attributes:
        block: Kind of residual block.
        counts: How many of them in res2, res3, res4 and res5.
    """

    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, int, int, int]


BACKBONES: Registry[Variant] = Registry("backbone")

# He et al. 2016, "Deep Residual Learning for Image Recognition", table 1.
BACKBONES.register("resnet18")(Variant(BasicBlock, (2, 2, 2, 2)))
BACKBONES.register("resnet34")(Variant(BasicBlock, (3, 4, 6, 3)))
BACKBONES.register("resnet50")(Variant(Bottleneck, (3, 4, 6, 3)))
BACKBONES.register("resnet101")(Variant(Bottleneck, (3, 4, 23, 3)))
BACKBONES.register("resnet152")(Variant(Bottleneck, (3, 8, 36, 3)))
