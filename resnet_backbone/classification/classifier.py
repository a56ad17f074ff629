"""A ResNet with the pooling and the linear layer that ImageNet and CIFAR train it with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.resnet import DEFAULTS, Options, ResNet
from resnet_backbone.backbone.variants import Variant


class Classifier(ResNet):
    """Global average pooling and a fully connected layer behind the last stage.

    Its parameters are those of the backbone and `fc`, as in torchvision; `norm` besides, the norm
    behind the last sum of a network with pre-activation.

    Args:
        name: See `ResNet`.
        variant: See `ResNet`.
        num_classes: Number of scores.
        options: See `ResNet`.
    """

    def __init__(
        self, name: str, variant: Variant, *, num_classes: int, options: Options = DEFAULTS
    ) -> None:
        super().__init__(name, variant, options=options)
        channels = self.feature_specs()[self.out_features[-1]].channels
        if variant.pre_activation:
            self.norm: nn.Module | None = self.style.make_norm(channels)
        else:
            self.norm = None
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # scores instead of features
        """Maps float[B, in_channels, H, W], normalised, to scores before softmax, float[B, K]."""
        return self.head(self.features(x)[self.out_features[-1]])

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Returns what the backbone alone returns."""
        return super().forward(x)

    def head(self, x: Tensor) -> Tensor:
        """Maps the last feature map float[B, C, H, W] to scores float[B, K]."""
        if self.norm is not None:
            x = F.relu(self.norm(x))
        # A row per pixel, so that the gradient of the mean is channels_last as all others are.
        return self.fc(x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1))
