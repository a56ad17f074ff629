"""Creates backbones by name, with or without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from resnet_backbone.backbone.base import Backbone
from resnet_backbone.backbone.foreign import (
    build_foreign,
    freeze_foreign,
    is_foreign,
    weights_are_timms,
)
from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.backbone.resnet import (
    DECIDED_BY_NAME,
    Options,
    ResNet,
    block_style,
    options_from,
    stage_specs,
)
from resnet_backbone.backbone.stage import Stage, init_weights
from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.arguments import refusing_unknown

if TYPE_CHECKING:
    from resnet_backbone.weights.stored import Stored

# The options of `create_backbone` that apply to blocks, and so also to a stage built on its own.
RES5_OPTIONS = (
    *("norm", "norm_eps", "stride_in_1x1", "deformable", "zero_init_residual"),
    *("stochastic_depth", "activation_checkpointing"),
)


@refusing_unknown(DECIDED_BY_NAME)
def create_backbone(
    name: str,
    *,
    weights: str | Path | Stored | None = None,
    out_features: Sequence[str] | None = None,
    norm: str = "FrozenBN",
    norm_eps: float | None = None,
    freeze_at: int = 0,
    stride_in_1x1: bool | None = None,
    in_channels: int = 3,
    output_stride: int = 32,
    dilate_first: bool = True,
    deformable: Sequence[str] = (),
    zero_init_residual: bool = False,
    stochastic_depth: float = 0.0,
    activation_checkpointing: bool = False,
    options: Mapping[str, Any] | None = None,
    allow_partial: Sequence[str] = (),
    allow_extra: Sequence[str] = (),
) -> Backbone:
    """Builds a backbone in channels_last memory format.

    Args:
        name: A registered name, see `list_backbones`, or "timm/NAME".
        weights: Anything `load_weights` takes: a file, or "torchvision/IMAGENET1K_V1"; for timm's
            networks also "timm" or "timm/TAG". None keeps the random initialisation, which trains
            with "BN" or "GN" but hardly with "FrozenBN", whose statistics were not computed from
            data. The weights' card says how to normalise the pixels, see `read_card`;
            `build_detector` does so.
        out_features: Which of "stem", "res2" to "res5" to return; later stages are not built. None
            returns all but the stem.
        norm: "BN", "FrozenBN", "SyncBN" or "GN".
        norm_eps: Epsilon added to the variance. None takes it from the weights' card, or
            `NORM_EPS`.
        freeze_at: How many stages to freeze, see `ResNet.freeze`.
        stride_in_1x1: True puts the stride of a bottleneck in its first 1x1 convolution (the
            paper), False in the 3x3 convolution (torchvision). None takes it from the weights'
            card, which must state it; without weights, None means False.
        in_channels: Input channels; RGB weights of the first convolution are adapted to another
            number, see `load_weights`.
        output_stride: 8, 16 or 32. Stages that would exceed it are dilated instead of strided; 16
            is the "DC5" of detectors.
        dilate_first: Whether the first block of a dilated stage has the dilation of the stage's
            other blocks (detectron2) or of the stage before (torchvision, timm).
        deformable: Stages ("res3", "res4", "res5") whose 3x3 convolutions are deformable.
        zero_init_residual: Initialise every block as the identity mapping, see `init_weights`.
        stochastic_depth: Probability of dropping the last block in training; it falls linearly to 0
            at the first block.
        activation_checkpointing: Recompute activations in the backward pass to save memory.
        options: Further arguments for a builder that the user registered, or for timm's models.
        allow_partial: Patterns of parameters that `weights` may lack, see `load_weights`.
        allow_extra: Patterns of names in `weights` that the network may lack, see `load_weights`.

    Raises:
        ConfigError: an argument has a value that is not allowed, or there is no such argument.
        WeightsError: the weights cannot be read, or do not fit the network.
    """
    chosen = Options(
        norm=norm,
        norm_eps=NORM_EPS if norm_eps is None else norm_eps,
        stride_in_1x1=bool(stride_in_1x1),
        in_channels=in_channels,
        output_stride=output_stride,
        dilate_first=dilate_first,
        deformable=deformable,
        zero_init_residual=zero_init_residual,
        stochastic_depth=stochastic_depth,
        activation_checkpointing=activation_checkpointing,
    )
    net: Backbone
    if is_foreign(name):
        timms = cast(str, weights) if weights_are_timms(weights) else None
        built = build_foreign(
            name, out_features=out_features, options=chosen, extra=options or {}, weights=timms
        )
        net, weights = cast(Backbone, built), None if timms else weights
    else:
        if options:
            raise ConfigError(f"options: got {dict(options)!r}, but {name} takes no more options")
        variant = get_variant(name)
        if weights is not None:
            weights, chosen = _agreed(name, weights, chosen, stride_in_1x1, norm_eps)
        net = ResNet(name, variant, out_features=out_features, options=chosen)
    if weights is not None:
        # Imported here and below because a backbone without weights needs only torch.
        from resnet_backbone.weights.load import load_weights

        load_weights(net, weights, allow_partial=allow_partial, allow_extra=allow_extra)
    freeze_foreign(name, net, freeze_at)
    return net.to(memory_format=torch.channels_last)


def _agreed(
    name: str,
    weights: str | Path | Stored,
    options: Options,
    stride_in_1x1: bool | None,
    norm_eps: float | None,
) -> tuple[Stored, Options]:
    """Reads the weights; returns them with the options that their card completes."""
    from resnet_backbone.weights.agreement import agree, facts
    from resnet_backbone.weights.stored import Stored, read_weights

    stored = weights if isinstance(weights, Stored) else read_weights(weights, name)
    stated = facts({"stride_in_1x1": stride_in_1x1, "norm_eps": norm_eps})
    values = agree(stated, stored.card, source=stored.source, variant=get_variant(name))
    return stored, replace(options, **values)


def create_res5(name: str, **options: Any) -> Stage:  # noqa: ANN401
    """Builds res5 alone, which C4 detectors run on every region (the paper, appendix A).

    Args:
        name: A registered name, see `list_backbones`.
        **options: The options of `create_backbone` that are listed in `RES5_OPTIONS`.

    Returns:
        A stage in channels_last that maps float[N, channels of res4, S, S] to float[N,
        stage.out_channels, S / 2, S / 2]. `load_weights(stage, file, prefix="layer4.")` loads its
        weights from a file of the whole network.

    Raises:
        ConfigError: an argument has a value that is not allowed, or the network has no res5.
    """
    variant = get_variant(name)
    stated = {key: value for key, value in options.items() if value is not None}
    chosen = options_from({"norm": "FrozenBN"} | stated, "create_res5")
    if len(variant.counts) < 4:
        raise ConfigError(f"{name} has no res5; C4 detectors need a network with four stages")
    spec, _ = stage_specs(variant, chosen)[3]
    res5 = Stage(
        variant.block,
        spec,
        block_style(variant, chosen),
        activation_checkpointing=chosen.activation_checkpointing,
    )
    init_weights(res5, zero_init_residual=chosen.zero_init_residual)
    return res5.to(memory_format=torch.channels_last)
