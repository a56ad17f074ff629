"""What a detector asks of its backbone."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from resnet_backbone.backbone.spec import FeatureSpec


class Backbone(nn.Module):
    """Maps images to a dictionary of feature maps. Own backbones may, but need not, derive from it.

    Attributes:
        name: What it is called in the registry.
        out_features: Names of the features, in ascending order of their strides.
    """

    name: str
    out_features: tuple[str, ...]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps float[B, in_channels, H, W], normalised, to `out_features`."""

    @abstractmethod
    def feature_specs(self) -> dict[str, FeatureSpec]:
        """Returns channels and stride of each of `out_features`."""

    @abstractmethod
    def freeze(self, freeze_at: int) -> None:
        """Makes the first stages constants: 0 none, 1 the stem, 2 stem and res2, ... 5 all."""
