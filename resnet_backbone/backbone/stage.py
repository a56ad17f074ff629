"""Stages, which are sequences of blocks, and the initialisation of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnet_backbone.backbone.blocks import BlockPosition, BlockStyle, ResidualBlock
from resnet_backbone.backbone.deform import DeformConv2d
from resnet_backbone.backbone.norm import FrozenBatchNorm2d


@dataclass(frozen=True)
class StageSpec:
    """What distinguishes one stage of a network from another.

    Attributes:
        in_channels: Channels of the input.
        width: Output channels divided by the block's `expansion`.
        stride: Stride of the first block.
        drop_rates: Stochastic depth rate of each block; its length is the number of blocks.
        dilation: Dilation of the 3x3 convolutions.
        first_dilation: Dilation of the first 3x3 convolution in the first block, the one that has
            the stride if the stage is not dilated.
        deformable: Whether the 3x3 convolutions are deformable.
    """

    in_channels: int
    width: int
    stride: int
    drop_rates: Sequence[float]
    dilation: int = 1
    first_dilation: int = 1
    deformable: bool = False


class Stage(nn.Sequential):
    """A sequence of blocks; the first one has the stride.

    Args:
        block: Kind of block.
        spec: Size, stride and dilation of the stage.
        style: What all blocks of the network have in common.
        activation_checkpointing: Do not store the activations inside blocks, but recompute them in
            the backward pass (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

    Attributes:
        out_channels: Channels of the output.
    """

    def __init__(
        self,
        block: type[ResidualBlock],
        spec: StageSpec,
        style: BlockStyle,
        *,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = spec.width * block.expansion
        self.activation_checkpointing = activation_checkpointing
        later = BlockPosition(
            dilation=spec.dilation, stage_dilation=spec.dilation, deformable=spec.deformable
        )
        first = replace(later, stride=spec.stride, dilation=spec.first_dilation)
        channels = spec.in_channels
        for index, rate in enumerate(spec.drop_rates):
            position = replace(first if index == 0 else later, drop_rate=rate)
            self.append(block(channels, spec.width, position, style))
            channels = self.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        for block in self:
            if self.activation_checkpointing and self.training and torch.is_grad_enabled():
                contexts = partial(_contexts, block)
                x = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
            else:
                x = block(x)
        return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Returns the context managers for the forward computation and for its repetition."""
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keeps batch normalisation from updating its statistics twice for the same batch."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)


def init_weights(module: nn.Module, *, zero_init_residual: bool = False) -> None:
    """Initialises the convolutions as He et al. do: N(0, 2 / (k * k * C_out)), bias 0.

    This is equation 14 (the backward case) of He et al. 2015, "Delving Deep into Rectifiers", as in
    the reference implementations. Norms keep weight 1 and bias 0.

    A frozen norm does not normalise until its statistics are loaded, and every block would double
    the variance: by 2^33 in ResNet-101. Therefore a frozen norm at the end of a residual branch
    starts with weight 1 / sqrt(number of blocks), which bounds the total growth by e (the argument
    of Zhang et al. 2019, "Fixup Initialization").

    Args:
        module: A network or a part of one.
        zero_init_residual: Initialise the last layer of each F(x) to 0, so that every block starts
            as its shortcut (Goyal et al. 2017, section 5.1).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if isinstance(layer, DeformConv2d):
            layer.reset_offsets()
    blocks = [layer for layer in module.modules() if isinstance(layer, ResidualBlock)]
    for block in blocks:
        last = block.last_layer()
        if zero_init_residual:
            nn.init.zeros_(cast(Tensor, last.weight))
        elif isinstance(last, FrozenBatchNorm2d):
            nn.init.constant_(last.weight, len(blocks) ** -0.5)
