"""The residual blocks of the paper (figure 5), of its plain baselines, and later variants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.deform import DeformConv2d
from resnet_backbone.backbone.norm import NORM_EPS, conv_norm, make_norm
from resnet_backbone.backbone.shortcuts import Projection, ZeroPadding
from resnet_backbone.backbone.squeeze import SqueezeExcite

# In-place ReLU and addition are safe for autograd below: neither a convolution nor a normalisation
# saves its own output for the backward pass.


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of a network have in common.

    Attributes:
        norm: Kind of normalisation, see `make_norm`.
        norm_eps: Epsilon added to the variance.
        stride_in_1x1: True puts a bottleneck's stride in its first 1x1 convolution (the paper, and
            its authors' weights); False in the 3x3 one (torchvision; Goyal et al. 2017, section
            5.1). Weights work with only one of the two, although their shapes fit both.
        groups: Groups of a bottleneck's 3x3 convolution (Xie et al. 2017, "ResNeXt").
        width_per_group: Channels per group in res2; 64 with one group is the paper's bottleneck.
        shortcut: The paper's option for shortcuts between different shapes: "A" pads with zeros and
            has no parameters, "B" projects; "C" projects everywhere; "none" has no shortcuts.
        avg_down: The projection averages 2x2 pixels instead of taking one of the four (He et al.
            2019, "Bag of Tricks", figure 2: ResNet-D).
        squeeze_excite: Add squeeze-and-excitation to F(x) (Hu et al. 2018).
    """

    norm: str = "BN"
    norm_eps: float = NORM_EPS
    stride_in_1x1: bool = False
    groups: int = 1
    width_per_group: int = 64
    shortcut: Literal["A", "B", "C", "none"] = "B"
    avg_down: bool = False
    squeeze_excite: bool = False

    def make_norm(self, channels: int) -> nn.Module:
        """Returns a normalisation layer for `channels` channels."""
        return make_norm(self.norm, channels, self.norm_eps)


@dataclass(frozen=True)
class BlockPosition:
    """What depends on a block's position in the network.

    Attributes:
        stride: Stride of the block.
        dilation: Dilation of the 3x3 convolution, or of the first one if there are two.
        stage_dilation: Dilation of the stage's other 3x3 convolutions.
        deformable: Whether the 3x3 convolutions are deformable.
        drop_rate: Probability of dropping F(x) in training (Huang et al. 2016, "Deep Networks with
            Stochastic Depth").
    """

    stride: int = 1
    dilation: int = 1
    stage_dilation: int = 1
    deformable: bool = False
    drop_rate: float = 0.0


class ResidualBlock(nn.Module):
    """Base class of all blocks: the shortcut and the sum.

    Args:
        in_channels: Channels of the input.
        width: Output channels divided by `expansion`.
        position: Stride, dilation and drop rate of this block.
        style: What all blocks of the network have in common.
    """

    expansion: int  # output channels divided by width

    def __init__(
        self, in_channels: int, width: int, position: BlockPosition, style: BlockStyle
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.out_channels = out_channels
        self.drop_rate = position.drop_rate
        self.has_shortcut = style.shortcut != "none"
        self.downsample = _shortcut(in_channels, out_channels, position, style)
        self.se = SqueezeExcite(out_channels) if style.squeeze_excite else None

    def residual(self, x: Tensor) -> Tensor:
        """Returns F(x) of the paper's equation 1, before the sum, as a new tensor."""
        raise NotImplementedError

    def last_layer(self) -> nn.Module:
        """Returns the last layer of F(x), whose weight scales F(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        out = self.weighted(self.residual(x))
        if self.has_shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)

    def weighted(self, residual: Tensor) -> Tensor:
        """Applies squeeze-and-excitation and stochastic depth to F(x), if they are enabled."""
        if self.se is not None:
            residual = self.se(residual)
        if self.training and self.drop_rate > 0:
            residual = residual * _drop_path_mask(residual, self.drop_rate)
        return residual


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (figure 5, left): 18 and 34 layers, and the CIFAR networks."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, position: BlockPosition, style: BlockStyle
    ) -> None:
        super().__init__(in_channels, width, position, style)
        self.conv1 = conv3x3(in_channels, width, position, stride=position.stride)
        self.bn1 = style.make_norm(width)
        self.conv2 = conv3x3(width, width, second_position(position))
        self.bn2 = style.make_norm(width)

    def residual(self, x: Tensor) -> Tensor:
        """Returns F(x), `[B, width, H / stride, W / stride]`."""
        out = F.relu(conv_norm(x, self.conv1, self.bn1), inplace=True)
        return conv_norm(out, self.conv2, self.bn2)

    def last_layer(self) -> nn.Module:
        """Returns the norm that ends F(x)."""
        return self.bn2


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions (figure 5, right): 50 layers and more."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, position: BlockPosition, style: BlockStyle
    ) -> None:
        super().__init__(in_channels, width, position, style)
        inner = inner_width(width, style)
        stride1, stride2 = (position.stride, 1) if style.stride_in_1x1 else (1, position.stride)
        self.conv1 = conv1x1(in_channels, inner, stride1)
        self.bn1 = style.make_norm(inner)
        self.conv2 = conv3x3(inner, inner, position, stride=stride2, groups=style.groups)
        self.bn2 = style.make_norm(inner)
        self.conv3 = conv1x1(inner, self.out_channels)
        self.bn3 = style.make_norm(self.out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """Returns F(x), `[B, 4 * width, H / stride, W / stride]`."""
        out = F.relu(conv_norm(x, self.conv1, self.bn1), inplace=True)
        out = F.relu(conv_norm(out, self.conv2, self.bn2), inplace=True)
        return conv_norm(out, self.conv3, self.bn3)

    def last_layer(self) -> nn.Module:
        """Returns the norm that ends F(x)."""
        return self.bn3


def second_position(position: BlockPosition) -> BlockPosition:
    """Returns the position for a basic block's second convolution, which never has a stride."""
    return replace(position, dilation=position.stage_dilation)


def _shortcut(
    in_channels: int, out_channels: int, position: BlockPosition, style: BlockStyle
) -> nn.Module | None:
    """Returns the module on the shortcut; None for the identity mapping."""
    stride = position.stride
    same = stride == 1 and in_channels == out_channels
    if style.shortcut == "none" or (same and style.shortcut != "C"):
        return None
    if style.shortcut == "A":
        return ZeroPadding(in_channels, out_channels, stride)
    norm = style.make_norm(out_channels)
    return Projection(
        in_channels,
        out_channels,
        stride,
        norm,
        average=style.avg_down,
        dilated=position.stage_dilation > 1,
    )


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Returns a 1x1 convolution without bias, since the norm that follows would cancel it."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def conv3x3(
    in_channels: int,
    out_channels: int,
    position: BlockPosition,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Conv2d:
    """Returns a 3x3 convolution without bias, deformable or not."""
    dilation = position.dilation
    if position.deformable:
        return DeformConv2d(
            in_channels, out_channels, stride=stride, dilation=dilation, groups=groups
        )
    return nn.Conv2d(
        in_channels,
        out_channels,
        3,
        stride,
        padding=dilation,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def inner_width(width: int, style: BlockStyle) -> int:
    """Returns the channels of a bottleneck's 3x3 convolution (torchvision/models/resnet.py)."""
    return width * style.width_per_group // 64 * style.groups


def _drop_path_mask(x: Tensor, rate: float) -> Tensor:
    """Returns float[B, 1, 1, 1]: 0 with probability `rate`, otherwise 1 / (1 - rate)."""
    keep = 1 - rate
    # Methods of `x` alone: torch.fx can trace these, but not `len(x)` or `torch.empty`.
    return x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(keep) / keep
