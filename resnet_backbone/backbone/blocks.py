"""The two residual blocks of the paper (figure 5), with projection shortcuts (option B)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.norm import FrozenBatchNorm2d, conv_norm, make_norm

# In-place ReLU and addition below are safe for autograd: neither a convolution nor a normalisation
# keeps its own output for the backward pass.


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Returns a 1x1 convolution without bias, which the norm behind it would cancel."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Returns a 3x3 convolution without bias, padded so that stride 1 keeps the size."""
    return nn.Conv2d(
        in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False
    )


class ResidualBlock(nn.Module):
    """What both blocks share: the shortcut and the sum.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the block.
        norm: Kind of normalisation, see `make_norm`.
    """

    expansion: int  # channels of the output per channel of the 3x3 convolution

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__()
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                conv1x1(in_channels, out_channels, stride), make_norm(norm, out_channels)
            )

    def residual(self, x: Tensor) -> Tensor:
        """Returns F(x) of the paper's equation 1, before the sum; a new tensor."""
        raise NotImplementedError

    @property
    def last_norm(self) -> nn.Module:
        """The norm that ends F(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x[B, in_channels, H, W]` to `[B, out_channels, H / stride, W / stride]`."""
        out = self.residual(x)
        shortcut = x if self.downsample is None else conv_norm(x, *self.downsample)
        out += shortcut
        return F.relu_(out)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (figure 5, left), for ResNet-18 and 34.

    Args:
        in_channels: Channels of the input.
        width: Channels of both convolutions, and of the output.
        stride: Stride of the first convolution.
        dilation: Dilation of both.
        norm: Kind of normalisation, see `make_norm`.
        stride_in_1x1: Has no effect: there is no 1x1 convolution. Both blocks take it so that a
            network is assembled the same way from either.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__(in_channels, width * self.expansion, stride, norm)
        self.conv1 = conv3x3(in_channels, width, stride, dilation)
        self.bn1 = make_norm(norm, width)
        self.conv2 = conv3x3(width, width, 1, dilation)
        self.bn2 = make_norm(norm, width)

    def residual(self, x: Tensor) -> Tensor:
        """Returns F(x), `[B, width, H / stride, W / stride]`."""
        out = F.relu_(conv_norm(x, self.conv1, self.bn1))
        return conv_norm(out, self.conv2, self.bn2)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that ends F(x)."""
        return self.bn2


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions (figure 5, right), for ResNet-50, 101 and 152.

    Args:
        in_channels: Channels of the input.
        width: Channels of the 3x3 convolution; the output has four times as many.
        stride: Stride of the block.
        dilation: Dilation of the 3x3 convolution.
        norm: Kind of normalisation, see `make_norm`.
        stride_in_1x1: True strides in the first 1x1 convolution (the paper, and the weights of its
            authors); False in the 3x3 (torchvision; Goyal et al. 2017, section 5.1). Weights are
            good for one of them only, although their shapes fit both.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__(in_channels, width * self.expansion, stride, norm)
        stride1, stride2 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv1x1(in_channels, width, stride1)
        self.bn1 = make_norm(norm, width)
        self.conv2 = conv3x3(width, width, stride2, dilation)
        self.bn2 = make_norm(norm, width)
        self.conv3 = conv1x1(width, width * self.expansion)
        self.bn3 = make_norm(norm, width * self.expansion)

    def residual(self, x: Tensor) -> Tensor:
        """Returns F(x), `[B, 4 * width, H / stride, W / stride]`."""
        out = F.relu_(conv_norm(x, self.conv1, self.bn1))
        out = F.relu_(conv_norm(out, self.conv2, self.bn2))
        return conv_norm(out, self.conv3, self.bn3)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that ends F(x)."""
        return self.bn3


class Stage(nn.Sequential):
    """Blocks in a row, of which the first has the stride.

    Every block is dilated, the first one too: that is R-FCN's and detectron2's DC5; torchvision
    leaves the first undilated.

    Args:
        block: Kind of block.
        count: How many.
        in_channels: Channels of the input.
        width: See the block.
        stride: Stride of the first block.
        dilation: Dilation of all 3x3 convolutions.
        norm: Kind of normalisation, see `make_norm`.
        stride_in_1x1: See `Bottleneck`.

    Attributes:
        out_channels: Channels of the output.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        count: int,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = width * block.expansion
        for i in range(count):
            first = i == 0
            self.append(
                block(
                    in_channels if first else self.out_channels,
                    width,
                    stride=stride if first else 1,
                    dilation=dilation,
                    norm=norm,
                    stride_in_1x1=stride_in_1x1,
                )
            )


def init_weights(module: nn.Module) -> None:
    """Draws every convolution's weights from N(0, 2 / (k * k * C_out)).

    He et al. 2015, "Delving Deep into Rectifiers", equation 14 (the backward case), which is what
    the reference implementations use; norms keep weight 1 and bias 0.

    A frozen norm does not normalise before its statistics are loaded, and every block would double
    the variance: 2^33 in ResNet-101. So the frozen norm that ends a residual branch starts at
    1 / sqrt(number of blocks), which bounds the whole growth by e (the argument of Zhang et al.
    2019, "Fixup Initialization").
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    blocks = [layer for layer in module.modules() if isinstance(layer, ResidualBlock)]
    for block in blocks:
        if isinstance(block.last_norm, FrozenBatchNorm2d):
            nn.init.constant_(block.last_norm.weight, len(blocks) ** -0.5)
