"""The mask branch (He et al. 2017, "Mask R-CNN", section 3 and figure 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_backbone.detection.init import init_msra, init_normal


class MaskHead(nn.Module):
    """Predicts a mask per class for every region.

    Args:
        in_channels: Channels of the pooled regions.
        channels: Channels of all hidden layers.
        layers: Number of 3x3 convolutions before upsampling; 0 for C4, which shares res5 (figure
            4).
        num_classes: Number of foreground classes.
    """

    def __init__(self, in_channels: int, *, channels: int, layers: int, num_classes: int) -> None:
        super().__init__()
        widths = [in_channels, *[channels] * layers]
        convs = [nn.Conv2d(width, channels, 3, padding=1) for width in widths[:layers]]
        self.convs = nn.ModuleList(convs)
        self.deconv = nn.ConvTranspose2d(widths[-1], channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, num_classes, 1)
        init_msra(*convs, self.deconv)
        init_normal(self.predictor, std=0.001)

    def forward(self, regions: Tensor, classes: Tensor) -> Tensor:
        """Returns logits float32[R, 2H, 2W] for the mask of each region's own class.

        The masks of the other classes (79 in COCO) are not computed: a region's output needs only
        one row of the last 1x1 convolution.

        Args:
            regions: float[R, C, H, W], the pooled regions.
            classes: int64[R], the class of each region.
        """
        x = regions.contiguous(memory_format=torch.channels_last)
        for conv in self.convs:
            x = F.relu_(conv(x))  # [R, D, H, W]
        x = F.relu_(self.deconv(x))  # [R, D, 2H, 2W]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [R, 4HW, D], a view as x is channels_last
        # [R, 4HW, D] @ [R, D, 1] -> [R, 4HW, 1]
        logits = pixels @ self.predictor.weight[classes].flatten(1)[:, :, None]
        if self.predictor.bias is not None:
            logits = logits + self.predictor.bias[classes, None, None]
        return logits.view(len(x), *x.shape[2:]).float()


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the binary cross-entropy, averaged over pixels and summed over regions, 0-dim.

    Args:
        logits: float32[R, M, M].
        targets: bool[R, M, M].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none")
    return entropy.sum() / (logits.shape[1] * logits.shape[2])
