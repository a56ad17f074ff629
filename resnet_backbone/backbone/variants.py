"""The table of networks, one line of numbers for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from resnet_backbone.backbone.blocks import BasicBlock, Bottleneck, ResidualBlock
from resnet_backbone.backbone.preactivation import (
    PreActivationBasicBlock,
    PreActivationBlock,
    PreActivationBottleneck,
)
from resnet_backbone.errors import ConfigError
from resnet_backbone.registry import Registry


@dataclass(frozen=True)
class Variant:
    """What distinguishes one ResNet from another.

    Attributes:
        block: Kind of residual block.
        counts: Number of blocks in each stage, starting with res2.
        widths: Width of each stage, see `ResidualBlock`.
        stem: "7x7" and "deep" (three 3x3 convolutions; He et al. 2019, "Bag of Tricks", figure 2:
            ResNet-C) have stride 4, "cifar" (one 3x3 convolution) has stride 1.
        groups: Groups of a bottleneck's 3x3 convolution.
        width_per_group: Channels per group in res2.
        shortcut: Shortcuts where shapes differ: "A", "B", "C" or "none", see `BlockStyle`.
        avg_down: Projections average 2x2 pixels (ResNet-D).
        squeeze_excite: Whether the blocks have squeeze-and-excitation.
    """

    block: type[ResidualBlock]
    counts: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Literal["7x7", "deep", "cifar"] = "7x7"
    groups: int = 1
    width_per_group: int = 64
    shortcut: Literal["A", "B", "C", "none"] = "B"
    avg_down: bool = False
    squeeze_excite: bool = False

    @property
    def has_bottlenecks(self) -> bool:
        """Whether the blocks have 1x1 convolutions that can take the stride."""
        return self.block.expansion > 1

    @property
    def depth(self) -> int:
        """Number of layers as the paper counts: the first, those of the blocks, and the last."""
        return (3 if self.has_bottlenecks else 2) * sum(self.counts) + 2

    @property
    def pre_activation(self) -> bool:
        """Whether norm and ReLU come before the convolutions."""
        return issubclass(self.block, PreActivationBlock)


# Entries that are not a Variant are builders that users registered, see `backbone.foreign`.
BACKBONES: Registry[Variant | Callable[..., nn.Module]] = Registry("backbone")

DEPTHS: dict[int, tuple[type[ResidualBlock], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


def _add(name: str, block: type[ResidualBlock], counts: tuple[int, ...], **numbers: Any) -> None:  # noqa: ANN401
    BACKBONES.register(name)(Variant(block, counts, **numbers))


# He et al. 2016, "Deep Residual Learning for Image Recognition", table 1; v2: "Identity Mappings in
# Deep Residual Networks"; SE: Hu et al. 2018; C and D: He et al. 2019, "Bag of Tricks".
for _depth, (_block, _counts) in DEPTHS.items():
    _pre = PreActivationBasicBlock if _block is BasicBlock else PreActivationBottleneck
    _add(f"resnet{_depth}", _block, _counts)
    _add(f"resnet{_depth}c", _block, _counts, stem="deep")
    _add(f"resnet{_depth}d", _block, _counts, stem="deep", avg_down=True)
    _add(f"seresnet{_depth}", _block, _counts, squeeze_excite=True)
    _add(f"resnetv2_{_depth}", _pre, _counts)

# The paper's baselines, and its other shortcut options (section 3.3, table 3).
for _depth in (18, 34):
    _block, _counts = DEPTHS[_depth]
    _add(f"plain{_depth}", _block, _counts, shortcut="none")
    _add(f"resnet{_depth}_a", _block, _counts, shortcut="A")
    _add(f"resnet{_depth}_c", _block, _counts, shortcut="C")

# Xie et al. 2017, "Aggregated Residual Transformations", table 1; Zagoruyko and Komodakis 2016,
# "Wide Residual Networks", table 8, as torchvision numbers them.
_add("resnext50_32x4d", Bottleneck, (3, 4, 6, 3), groups=32, width_per_group=4)
_add("resnext101_32x8d", Bottleneck, (3, 4, 23, 3), groups=32, width_per_group=8)
_add("resnext101_64x4d", Bottleneck, (3, 4, 23, 3), groups=64, width_per_group=4)
_add("wide_resnet50_2", Bottleneck, (3, 4, 6, 3), width_per_group=128)
_add("wide_resnet101_2", Bottleneck, (3, 4, 23, 3), width_per_group=128)

# The paper, section 4.2: 6n + 2 layers, three stages of 2n layers, and option A.
for _depth in (20, 32, 44, 56, 110, 1202):
    _counts = ((_depth - 2) // 6,) * 3
    _cifar: dict[str, Any] = {"widths": (16, 32, 64), "stem": "cifar"}
    _add(f"resnet{_depth}_cifar", BasicBlock, _counts, shortcut="A", **_cifar)
    _add(f"plain{_depth}_cifar", BasicBlock, _counts, shortcut="none", **_cifar)


def list_backbones(pattern: str = "*") -> list[str]:
    """Returns the registered names that match the shell pattern `pattern`, sorted."""
    return BACKBONES.names(pattern)


def get_variant(name: str) -> Variant:
    """Returns the depth, widths and kind of block of a network.

    Raises:
        ConfigError: there is no such network, or it is a builder that a user registered.
    """
    try:
        entry = BACKBONES.get(name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from None
    if not isinstance(entry, Variant):
        raise ConfigError(f"backbone {name!r} is not a ResNet of this package")
    return entry
