"""Normalisation layers, and the folding of a frozen norm into the convolution before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.deform import convolve
from resnet_backbone.errors import ConfigError

NORMS = ("BN", "FrozenBN", "SyncBN", "GN")
NORM_EPS = 1e-5  # the default of torch, torchvision, timm and detectron2
GROUPS = 32  # Wu and He 2018, "Group Normalization", section 4: the default in all their results


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine parameters are constants.

    All four are buffers named as in BatchNorm2d, so that its state dict can be loaded. There are no
    batches to count, hence no `num_batches_tracked`; if a state dict has it, it is ignored.

    Args:
        channels: Number of channels C.
        eps: Epsilon added to the variance.
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
        """Returns (scale[C], shift[C]) such that the layer computes `x * scale + shift`."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `x[B, C, H, W]`; the dtype stays the same."""
        scale, shift = self.scale_shift()
        # scale and shift: [C] -> [C, 1, 1], which broadcasts over [B, C, H, W]
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        """Returns what `print(module)` shows in parentheses."""
        return f"{len(self.weight)}, eps={self.eps}"


def _drop_count(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_unused: object
) -> None:
    state_dict.pop(prefix + "num_batches_tracked", None)


def make_norm(kind: str, channels: int, eps: float = NORM_EPS) -> nn.Module:
    """Returns a normalisation layer for `channels` channels.

    "SyncBN" computes its statistics over all ranks of a process group on GPUs. Without a group, or
    with one rank, it computes exactly what "BN" does, on any device. With several ranks on CPU,
    torch fails in the first training step rather than compute the statistics per rank.

    Args:
        kind: One of `NORMS`.
        channels: Number of channels; "GN" splits them into 32 groups.
        eps: Epsilon added to the variance.

    Raises:
        ConfigError: `kind` is not in `NORMS`, or is "GN" and 32 does not divide `channels`, or has
            statistics of its own and `eps` 0, which torch takes for constants only.
    """
    if eps == 0 and kind != "FrozenBN":
        raise ConfigError(
            f"norm: {kind} needs a norm_eps above 0, got 0, as weights of torchvision's detectors"
            " have it; keep norm FrozenBN with them"
        )
    if kind == "BN":
        return nn.BatchNorm2d(channels, eps)
    if kind == "FrozenBN":
        return FrozenBatchNorm2d(channels, eps)
    if kind == "SyncBN":
        return nn.SyncBatchNorm(channels, eps)
    if kind == "GN":
        if channels % GROUPS:
            raise ConfigError(
                f"norm: GN needs a number of channels divisible by {GROUPS}, got {channels}"
            )
        return nn.GroupNorm(GROUPS, channels, eps)
    raise ConfigError(f"norm: got {kind!r}, expected one of {', '.join(NORMS)}")


def frozen(module: nn.Module) -> nn.Module:
    """Freezes `module`: no gradients, and every batch normalisation replaced by a frozen one.

    Returns:
        `module`, changed in place, or its replacement if it is itself a batch normalisation.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return FrozenBatchNorm2d.from_batch_norm(module)
    for name, child in module.named_children():
        setattr(module, name, frozen(child))
    return module.requires_grad_(False)


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Returns `norm(conv(x))`, as a single convolution if `norm` is frozen.

    A frozen norm is a constant affine map, and `conv(x, w) * s + t = conv(x, w * s) + t`. Scaling
    the weights instead of the feature map saves reading and writing that map twice. The gradient
    of `w` is multiplied by `s`, as it is without folding. The product is computed in the precision
    of the parameters and then rounded by autocast, so feature maps are never promoted.

    Forward hooks on `conv` and `norm` do not fire when they are folded.

    Args:
        x: float[B, C_in, H, W].
        conv: The convolution; its weight keeps its memory format.
        norm: The layer that follows it.
    """
    if not isinstance(norm, FrozenBatchNorm2d):
        return norm(conv(x))
    scale, shift = norm.scale_shift()  # [C_out] each
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    weight = conv.weight * scale[:, None, None, None]  # [C_out, C_in / groups, k, k]
    return convolve(x, conv, weight, shift)
