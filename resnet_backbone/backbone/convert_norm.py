"""Converts the batch normalisation layers of other libraries to the `norm` that is configured."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_backbone.backbone.norm import NORMS, FrozenBatchNorm2d
from resnet_backbone.errors import ConfigError

_BatchNorm = nn.modules.batchnorm._BatchNorm


class FrozenBatchNormAct2d(FrozenBatchNorm2d):
    """A frozen norm with the activation that timm's `BatchNormAct2d` contains."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `x[B, C, H, W]` and applies the activation."""
        return self.act(self.drop(super().forward(x)))


def convert_norms(module: nn.Module, kind: str) -> None:
    """Converts every batch normalisation inside `module` to `kind`; other norms are left as is.

    Args:
        module: The network, changed in place. Weights may be loaded before or after, since the
            names and values of the parameters do not change.
        kind: "BN" changes nothing, "FrozenBN" freezes the layers, "SyncBN" synchronises their
            statistics across ranks.

    Raises:
        ConfigError: `kind` is something else. "GN" is rejected because its parameters cannot be
            taken from batch normalisation.
    """
    if kind not in NORMS or kind == "GN":
        raise ConfigError(f"norm: got {kind!r}, expected BN, FrozenBN or SyncBN for this backbone")
    if kind == "BN":
        return
    convert = frozen_norm if kind == "FrozenBN" else _synchronised
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, convert(child))


def frozen_norm(norm: _BatchNorm) -> FrozenBatchNorm2d:
    """Returns the frozen layer that computes what `norm` computes in evaluation mode."""
    if not hasattr(norm, "act"):
        return FrozenBatchNorm2d.from_batch_norm(norm)
    frozen = FrozenBatchNormAct2d.from_batch_norm(norm)
    frozen.drop, frozen.act = norm.drop, norm.act
    return frozen


def _synchronised(norm: _BatchNorm) -> nn.Module:
    if not hasattr(norm, "act"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    # torch's function would drop the activation. Only timm has such layers, so timm is installed.
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(norm)
