"""Pre-activation blocks, with norm and ReLU before each convolution: ResNet v2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.blocks import (
    BlockPosition,
    BlockStyle,
    ResidualBlock,
    conv1x1,
    conv3x3,
    inner_width,
    second_position,
)
from resnet_backbone.backbone.norm import conv_norm
from resnet_backbone.backbone.shortcuts import Projection


class PreActivationBlock(ResidualBlock):
    """Norm and ReLU before each convolution (He et al. 2016, "Identity Mappings", figure 4e).

    There is no activation after the sum. A projection shortcut takes the activated input.
    """

    bn1: nn.Module

    def __init__(
        self, in_channels: int, width: int, position: BlockPosition, style: BlockStyle
    ) -> None:
        super().__init__(in_channels, width, position, style)
        if isinstance(self.downsample, Projection):
            self.downsample = self.downsample.without_norm()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        activated = F.relu(self.bn1(x), inplace=True)
        out = self.weighted(self.residual(activated))
        if self.has_shortcut:
            out += x if self.downsample is None else self.downsample(activated)
        return out


class PreActivationBasicBlock(PreActivationBlock):
    """Two 3x3 convolutions, each after its norm and ReLU."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, position: BlockPosition, style: BlockStyle
    ) -> None:
        super().__init__(in_channels, width, position, style)
        self.bn1 = style.make_norm(in_channels)
        self.conv1 = conv3x3(in_channels, width, position, stride=position.stride)
        self.bn2 = style.make_norm(width)
        self.conv2 = conv3x3(width, width, second_position(position))

    def residual(self, x: Tensor) -> Tensor:
        """Returns F of the activated `x`."""
        return self.conv2(F.relu(conv_norm(x, self.conv1, self.bn2), inplace=True))

    def last_layer(self) -> nn.Module:
        """Returns the last convolution of F(x)."""
        return self.conv2


class PreActivationBottleneck(PreActivationBlock):
    """1x1, 3x3 and 1x1 convolutions, each after its norm and ReLU."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, position: BlockPosition, style: BlockStyle
    ) -> None:
        super().__init__(in_channels, width, position, style)
        inner = inner_width(width, style)
        stride1, stride2 = (position.stride, 1) if style.stride_in_1x1 else (1, position.stride)
        self.bn1 = style.make_norm(in_channels)
        self.conv1 = conv1x1(in_channels, inner, stride1)
        self.bn2 = style.make_norm(inner)
        self.conv2 = conv3x3(inner, inner, position, stride=stride2, groups=style.groups)
        self.bn3 = style.make_norm(inner)
        self.conv3 = conv1x1(inner, self.out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """Returns F of the activated `x`."""
        out = F.relu(conv_norm(x, self.conv1, self.bn2), inplace=True)
        return self.conv3(F.relu(conv_norm(out, self.conv2, self.bn3), inplace=True))

    def last_layer(self) -> nn.Module:
        """Returns the last convolution of F(x)."""
        return self.conv3
