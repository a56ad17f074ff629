"""Squeeze-and-excitation (Hu et al. 2018, section 3): channels weigh each other."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

REDUCTION = 16  # the paper's section 6.1
MULTIPLE = 8  # narrow layers are rounded to it (timm/layers/squeeze_excite.py)


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a number in (0, 1) that the means of all channels decide.

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
        """Returns `x[B, channels, H, W]`, weighted."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * self.fc2(F.relu_(self.fc1(means))).sigmoid()
