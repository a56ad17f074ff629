"""Normalisation layers, and the convolution that a frozen one folds into."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.deform import convolve
from resnet_backbone.errors import ConfigError

NORMS = ("BN", "FrozenBN", "SyncBN", "GN")
NORM_EPS = 1e-5  # torch's default, and torchvision's, timm's and detectron2's
GROUPS = 32  # Wu and He 2018, "Group Normalization", section 4: the default of all their results


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine parameters are constants.

    All four are buffers with BatchNorm2d's names, so that it loads the other's state. There is
    nothing to count, hence no `num_batches_tracked`; one in a loaded state is ignored.

    Args:
        channels: Number of channels C.
        eps: Added to the variance.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_load_state_dict_pre_hook(_drop_count)

    @classmethod
    def from_batch_norm(cls, norm: nn.modules.batchnorm._BatchNorm) -> FrozenBatchNorm2d:
        """Returns the frozen layer that computes what `norm` computes in evaluation mode."""
        frozen = cls(norm.num_features, norm.eps).to(norm.weight.device, norm.weight.dtype)
        frozen.load_state_dict(norm.state_dict())
        return frozen

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """Returns (scale[C], shift[C]) such that the layer is `x * scale + shift`."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `x[B, C, H, W]`, keeping its dtype."""
        scale, shift = self.scale_shift()
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        """Returns what `print(module)` shows in the brackets."""
        return f"{len(self.weight)}, eps={self.eps}"


def _drop_count(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_unused: object
) -> None:
    state_dict.pop(prefix + "num_batches_tracked", None)


def make_norm(kind: str, channels: int, eps: float = NORM_EPS) -> nn.Module:
    """Returns a normalisation layer for `channels` channels.

    "SyncBN" shares its statistics over the ranks of a process group on GPUs. Without a group, or
    with one rank, it computes exactly what "BN" does, on any device; with several ranks on CPU,
    torch refuses the first training step rather than leave the statistics unshared.

    Args:
        kind: One of `NORMS`.
        channels: Number of channels; "GN" splits them into 32 groups.
        eps: Added to the variance.

    Raises:
        ConfigError: `kind` is none of `NORMS`, or "GN" meets channels that 32 does not divide.
    """
    if kind == "BN":
        return nn.BatchNorm2d(channels, eps)
    if kind == "FrozenBN":
        return FrozenBatchNorm2d(channels, eps)
    if kind == "SyncBN":
        return nn.SyncBatchNorm(channels, eps)
    if kind == "GN":
        if channels % GROUPS:
            raise ConfigError(
                f"norm: GN has {GROUPS} groups, which {channels} channels do not fill"
            )
        return nn.GroupNorm(GROUPS, channels, eps)
    raise ConfigError(f"norm: got {kind!r}, expected one of {', '.join(NORMS)}")


def frozen(module: nn.Module) -> nn.Module:
    """Makes `module` constant: no gradients, and every batch normalisation frozen.

    Returns:
        `module` changed in place, or its replacement where it is a batch normalisation itself.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return FrozenBatchNorm2d.from_batch_norm(module)
    for name, child in module.named_children():
        setattr(module, name, frozen(child))
    return module.requires_grad_(False)


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Returns `norm(conv(x))`, by a single convolution where `norm` is frozen.

    A frozen norm is a constant affine map, and `conv(x, w) * s + t = conv(x, w * s) + t`: scaling
    the weights instead of the feature map saves reading and writing that map twice. The gradient
    of `w` comes out scaled by `s`, as it does unfolded. The product is taken in the parameters'
    precision and autocast rounds the result, so feature maps are never promoted.

    Forward hooks on `conv` and `norm` do not fire when they are folded.

    Args:
        x: float[B, C_in, H, W].
        conv: The convolution; its weight's memory format is kept.
        norm: The layer behind it.
    """
    if not isinstance(norm, FrozenBatchNorm2d):
        return norm(conv(x))
    scale, shift = norm.scale_shift()
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    weight = conv.weight * scale[:, None, None, None]
    return convolve(x, conv, weight, shift)
