"""A ResNet with global average pooling and a linear layer, as trained on ImageNet and CIFAR."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_backbone.backbone.resnet import DEFAULTS, Options, ResNet
from resnet_backbone.backbone.variants import Variant


class GlobalAverage(nn.Module):
    """The mean over all pixels, with torchvision's shape.

    It is computed of [B, H * W, C], so that its gradient is channels_last like all others.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[B, C, H, W] to float[B, C, 1, 1]."""
        return x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)[:, :, None, None]


class Classifier(ResNet):
    """A ResNet followed by global average pooling and a fully connected layer.

    Its parameters have torchvision's names: those of the backbone, and `fc`. Networks with
    pre-activation also have `norm`, the norm after the last sum.

    Args:
        name: The network's name in the registry, used in messages and to find weights.
        variant: The network's depth, widths and kind of block.
        num_classes: Number of classes K.
        options: The options that apply to any network.
    """

    def __init__(
        self, name: str, variant: Variant, *, num_classes: int, options: Options = DEFAULTS
    ) -> None:
        super().__init__(name, variant, options=options)
        channels = self.feature_specs()[self.out_features[-1]].channels
        if variant.pre_activation:
            self.norm: nn.Module | None = self.style.make_norm(channels)
            self.relu = nn.ReLU()
        else:
            self.norm = None
        self.avgpool = GlobalAverage()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # scores instead of features
        """Maps normalised images, float[B, in_channels, H, W], to logits float[B, K]."""
        return self.head(self.features(x)[self.out_features[-1]])

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Returns the feature maps of the backbone, see `ResNet.forward`."""
        return super().forward(x)

    def head(self, x: Tensor) -> Tensor:
        """Maps the last feature map float[B, C, H, W] to logits float[B, K]."""
        if self.norm is not None:
            x = self.relu(self.norm(x))
        return self.fc(self.avgpool(x).flatten(1))  # [B, C] -> [B, K]
