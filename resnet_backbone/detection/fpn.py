"""Feature Pyramid Network (Lin et al. 2017, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_backbone.detection.init import init_xavier


class FPN(nn.Module):
    """A top-down pathway that gives every stage the semantics of the last one.

    A 1x1 convolution maps each stage to the same number of channels. The next coarser map is
    upsampled by 2 (nearest neighbour) and added. A 3x3 convolution smooths the sum. P6 subsamples
    P5, for the largest anchors (detectron2/modeling/backbone/fpn.py, LastLevelMaxPool).

    Args:
        in_channels: Channels of each stage, finest first: {"res2": 256, ..., "res5": 2048}.
        channels: Channels of all outputs.
    """

    def __init__(self, in_channels: Mapping[str, int], channels: int) -> None:
        super().__init__()
        self.stages: Sequence[str] = tuple(in_channels)
        lateral = {stage: nn.Conv2d(width, channels, 1) for stage, width in in_channels.items()}
        output = {stage: nn.Conv2d(channels, channels, 3, padding=1) for stage in in_channels}
        init_xavier(*lateral.values(), *output.values())
        self.lateral, self.output = nn.ModuleDict(lateral), nn.ModuleDict(output)

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns P2 to P6, finest first, each [B, channels, H / stride, W / stride].

        The image's height and width must be divisible by the stride of the last stage.
        """
        top = None
        pyramid: list[Tensor] = []
        for stage in reversed(self.stages):
            lateral = self.lateral[stage](features[stage])  # [B, channels, H_s, W_s]
            if top is not None:
                lateral += F.interpolate(top, scale_factor=2.0)
            top = lateral
            pyramid.insert(0, self.output[stage](top))
        return [*pyramid, F.max_pool2d(pyramid[-1], kernel_size=1, stride=2)]
