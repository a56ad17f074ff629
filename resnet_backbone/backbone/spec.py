"""What a backbone declares about each feature map that it returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureSpec:
    """One feature map.

    Attributes:
        channels: Number of channels.
        stride: Input pixels per feature pixel, the same vertically and horizontally.
    """

    channels: int
    stride: int
