"""Other people's batch normalisations, turned into what `model.backbone.norm` asks for."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_backbone.backbone.norm import NORMS, FrozenBatchNorm2d
from resnet_backbone.errors import ConfigError

_BatchNorm = nn.modules.batchnorm._BatchNorm


class FrozenBatchNormAct2d(FrozenBatchNorm2d):
    """A frozen norm and the activation behind it; timm's `BatchNormAct2d` holds both."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Normalises and activates `x[B, C, H, W]`."""
        return self.act(self.drop(super().forward(x)))


def convert_norms(module: nn.Module, kind: str) -> None:
    """Turns every batch normalisation below `module` into `kind`; other norms stay.

    Args:
        module: The network, changed in place. Its weights may be loaded before or after: names and
            values stay.
        kind: "BN" leaves them, "FrozenBN" makes them constants, "SyncBN" shares their statistics.

    Raises:
        ConfigError: `kind` is something else; "GN" has no weights to take from batch normalisation.
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
    """Returns the constant layer that computes what `norm` computes in evaluation mode."""
    if not hasattr(norm, "act"):
        return FrozenBatchNorm2d.from_batch_norm(norm)
    frozen = FrozenBatchNormAct2d.from_batch_norm(norm)
    frozen.drop, frozen.act = norm.drop, norm.act
    return frozen


def _synchronised(norm: _BatchNorm) -> nn.Module:
    if not hasattr(norm, "act"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    # torch's function would drop the activation; only timm has such layers, so timm is there.
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(norm)
