"""Shortcuts for inputs and outputs of different shape (the paper, section 3.3)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.norm import conv_norm


class ZeroPadding(nn.Module):
    """Option A: subsamples by `stride` and adds channels of zeros; no parameters.

    The paper does not say where the zeros go. Here half of them come before the input's channels
    and half after, as in the CIFAR networks whose weights are in circulation
    (akamaster/pytorch_resnet_cifar10). Weights trained with another placement would have the same
    shapes but compute something else.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, at least `in_channels`.
        stride: Stride.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        additional = out_channels - in_channels
        self.zeros = (additional // 2, additional - additional // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        # avg_pool2d with a 1x1 window instead of x[:, :, ::2, ::2]: the gradient of a slice is not
        # channels_last, which makes the backward pass before it several times slower on CPUs.
        # -> [B, in_channels, H / stride, W / stride], then padded to out_channels
        return F.pad(F.avg_pool2d(x, 1, self.stride), (0, 0, 0, 0, *self.zeros))


class DilatedAverage(nn.Module):
    """Average pooling over 2x2 pixels with stride 1; zeros beyond the last row and column.

    It replaces a strided average where a stage is dilated: every second output pixel equals the
    strided average (timm/layers/pool2d_same.py, AvgPool2dSame).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, C, H, W]` to the same shape."""
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, stride=1)  # pooled from [H + 1, W + 1]


class Projection(nn.Sequential):
    """Options B and C: a 1x1 convolution and its norm.

    The layers keep the indices they have in torchvision (0 and 1) and, with an average, in timm (1
    and 2), because these indices are part of the parameter names.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride.
        norm: The layer after the convolution.
        average: Average `stride` x `stride` pixels instead of taking one of them.
        dilated: Whether the stage is dilated instead of strided, see `DilatedAverage`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: nn.Module,
        *,
        average: bool = False,
        dilated: bool = False,
    ) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 1, 1 if average else stride, bias=False)
        if not average:
            super().__init__(conv, norm)
        elif stride == 1:
            super().__init__(DilatedAverage() if dilated else nn.Identity(), conv, norm)
        else:
            # In an odd last row or column, only existing pixels count (timm/models/resnet.py).
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            super().__init__(pool, conv, norm)

    def without_norm(self) -> nn.Sequential:
        """Returns the same layers without the norm."""
        return nn.Sequential(*list(self)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        *before, conv, norm = self
        for layer in before:
            x = layer(x)
        return conv_norm(x, cast(nn.Conv2d, conv), norm)
