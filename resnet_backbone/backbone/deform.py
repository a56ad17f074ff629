"""Deformable convolution, version 2 (Zhu et al. 2019), using torchvision's kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.fx
from torch import Tensor, nn

TAPS = 9  # sampling points of a 3x3 kernel


class DeformConv2d(nn.Conv2d):
    """A 3x3 convolution whose sampling points are moved and weighted by a second convolution.

    That second convolution, `offset`, is initialised to zero as in the paper: the points start at
    their regular positions with modulation weight 0.5. Its output channels are 18 offsets (down and
    right for each point) and 9 logits of modulation weights.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride.
        dilation: Dilation, and also the padding.
        groups: Groups of channels; all groups share the offsets.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, dilation: int, groups: int
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            3,
            stride,
            padding=dilation,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        # Imported here because a backbone without deformable layers needs only torch. Not in
        # `forward`, because a traced forward must not import.
        import torchvision.ops  # noqa: F401

        self.offset = nn.Conv2d(
            in_channels, 3 * TAPS, 3, stride, padding=dilation, dilation=dilation
        )
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Resets the sampling points to those of an ordinary convolution."""
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        return convolve(x, self, self.weight, None)


def convolve(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Applies `conv`, deformable or not, to `x[B, C, H, W]` with the given weight and bias."""
    if not isinstance(conv, DeformConv2d):
        return conv._conv_forward(x, weight, bias)
    # offsets [B, 2 * TAPS, H', W'], modulation logits [B, TAPS, H', W'] at the output's resolution
    offsets, logits = conv.offset(x).split((2 * TAPS, TAPS), dim=1)
    geometry = (conv.stride[0], cast(int, conv.padding[0]), conv.dilation[0])
    return deform(x, offsets, weight, bias, geometry, torch.sigmoid(logits))


@torch.fx.wrap
def deform(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Sequence[int],
    modulation: Tensor,
) -> Tensor:
    """Calls torchvision's kernel; torch.fx takes it as one node, since it branches on shapes.

    Args:
        x: float[B, C, H, W].
        offsets: float[B, 2 * TAPS, H', W'], in pixels.
        weight: float[C_out, C / groups, 3, 3].
        bias: float[C_out], or None.
        geometry: Stride, padding and dilation.
        modulation: float[B, TAPS, H', W'], the weight of each sampling point.
    """
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, offsets, weight, bias, *geometry, modulation)
