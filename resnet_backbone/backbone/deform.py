"""Deformable convolution, version 2 (Zhu et al. 2019), on torchvision's kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TAPS = 9  # of a 3x3 kernel


class DeformConv2d(nn.Conv2d):
    """A 3x3 convolution whose taps move and are weighted, each by what `offset` sees at its place.

    `offset` begins at zero, as in the paper: the taps begin in their places, with weight 0.5. Its
    channels are 18 offsets (down, right for each tap) and 9 logits of weights.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride.
        dilation: Dilation, and padding.
        groups: Groups of channels; all share the offsets.
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
        # The backbone needs torch alone unless it is deformable; and a traced forward, which would
        # be the next occasion, must not import.
        import torchvision.ops  # noqa: F401

        self.offset = nn.Conv2d(
            in_channels, 3 * TAPS, 3, stride, padding=dilation, dilation=dilation
        )
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Puts the taps where those of an ordinary convolution are."""
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        return convolve(x, self, self.weight, None)


def convolve(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns what `conv`, deformable or not, makes of `x[B, C, H, W]` with these weights."""
    if not isinstance(conv, DeformConv2d):
        return conv._conv_forward(x, weight, bias)
    from torchvision.ops import deform_conv2d

    places, logits = conv.offset(x).split((2 * TAPS, TAPS), dim=1)
    stride, padding, dilation = (conv.stride[0], conv.padding[0], conv.dilation[0])
    return deform_conv2d(x, places, weight, bias, stride, padding, dilation, torch.sigmoid(logits))
