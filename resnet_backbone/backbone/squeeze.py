"""Squeeze-and-excitation (Hu et al. 2018, section 3): channel weights from global averages."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

REDUCTION = 16  # the paper's section 6.1
MULTIPLE = 8  # the squeezed width is rounded to a multiple of it (timm/layers/squeeze_excite.py)


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a weight in (0, 1) computed from the means of all channels.

    Args:
        channels: Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half_up = int(channels / REDUCTION + MULTIPLE / 2)
        squeezed = max(MULTIPLE, half_up // MULTIPLE * MULTIPLE)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x[B, channels, H, W]` with its channels weighted."""
        means = x.mean(dim=(2, 3), keepdim=True)  # [B, channels, 1, 1]
        return x * self.fc2(F.relu_(self.fc1(means))).sigmoid()
