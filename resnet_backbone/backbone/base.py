"""The interface that a detector requires of its backbone."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from resnet_backbone.backbone.spec import FeatureSpec


class Backbone(nn.Module):
    """Maps images to a dictionary of feature maps. A user's backbone need not derive from it.

    Attributes:
        name: The backbone's name in the registry.
        out_features: Names of the returned features, in ascending order of stride.
        size_divisor: Height and width of images must be multiples of it. For a user's backbone that
            does not have this attribute, images are padded to multiples of 32.
    """

    name: str
    out_features: tuple[str, ...]
    size_divisor: int = 1

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps normalised images, float[B, in_channels, H, W], to the features `out_features`."""

    @abstractmethod
    def feature_specs(self) -> dict[str, FeatureSpec]:
        """Returns the channels and stride of each of `out_features`."""

    @abstractmethod
    def freeze(self, freeze_at: int) -> None:
        """Freezes the first stages: 0 none, 1 the stem, 2 the stem and res2, ... 5 everything."""
