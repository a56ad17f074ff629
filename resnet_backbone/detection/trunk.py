"""Builds the backbone and neck of the three architectures, for `build_detector`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from resnet_backbone.backbone.base import Backbone
from resnet_backbone.backbone.foreign import is_foreign, size_divisor, weights_are_timms
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.backbone.stage import Stage
from resnet_backbone.config.schema import ModelConfig
from resnet_backbone.create import RES5_OPTIONS, create_backbone, create_res5
from resnet_backbone.detection.fpn import FPN
from resnet_backbone.detection.rcnn import TakeStage
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored

STAGES = ("res2", "res3", "res4", "res5")
DC5_STRIDE = 16


@dataclass(frozen=True)
class Trunk:
    """Backbone and neck, with the specs of the maps that `neck` returns.

    Attributes:
        backbone: The backbone.
        neck: Maps the backbone's features to a list of feature maps, finest first.
        specs: Channels and stride of each of these maps.
        pooled_levels: How many of them, from the first, regions are pooled from.
        size_divisor: Height and width of images must be multiples of it. As in detectron2, only FPN
            requires this of images for our networks; C4 and DC5 take images of any size.
        res5: In C4, the stage that is applied to each region.
    """

    backbone: nn.Module
    neck: nn.Module
    specs: list[FeatureSpec]
    pooled_levels: int
    size_divisor: int
    res5: Stage | None = None


def build_trunk(model: ModelConfig, weights: Stored | None) -> Trunk:
    """Builds backbone and neck for `model.architecture`, with weights in the backbone.

    Args:
        model: The configuration's section `model`, completed by `settle_detector`.
        weights: The backbone's weights; None for random initialisation, or for timm's weights.

    Raises:
        ConfigError: the architecture does not fit the backbone.
        WeightsError: the weights lack parameters of the backbone.
    """
    return _TRUNKS[model.architecture](model, weights)


def _fpn_trunk(model: ModelConfig, weights: Stored | None) -> Trunk:
    if model.backbone.output_stride != 32:
        raise ConfigError(
            f"model.backbone.output_stride: got {model.backbone.output_stride}, expected 32 for"
            " architecture fpn, whose maps must halve in size from stage to stage"
        )
    backbone = _backbone(model, weights, STAGES)
    specs = backbone.feature_specs()
    neck = FPN({name: spec.channels for name, spec in specs.items()}, model.fpn_channels)
    strides = [spec.stride for spec in specs.values()]
    levels = [FeatureSpec(model.fpn_channels, s) for s in (*strides, 2 * strides[-1])]
    divisor = math.lcm(strides[-1], size_divisor(backbone))
    return Trunk(backbone, neck, levels, pooled_levels=len(strides), size_divisor=divisor)


def _dc5_trunk(model: ModelConfig, weights: Stored | None) -> Trunk:
    output_stride = min(DC5_STRIDE, model.backbone.output_stride)
    backbone = _backbone(model, weights, ("res5",), output_stride)
    spec = backbone.feature_specs()["res5"]
    divisor = size_divisor(backbone)
    return Trunk(backbone, TakeStage("res5"), [spec], pooled_levels=1, size_divisor=divisor)


def _c4_trunk(model: ModelConfig, weights: Stored | None) -> Trunk:
    """The ResNet paper's design: features of res4 are shared, res5 is applied to each region."""
    name = model.backbone.name
    if is_foreign(name):
        raise ConfigError(
            f"model.backbone.name: {name} has no res5 to apply to regions; for architecture c4 "
            "expected a ResNet of this package; otherwise choose architecture fpn or dc5"
        )
    backbone = _backbone(model, weights, ("res4",))
    options = _options(model)
    res5 = create_res5(name, **{key: options[key] for key in RES5_OPTIONS})
    if weights is not None:
        load_weights(
            res5,
            weights,
            prefix="layer4.",
            arch=name,
            allow_partial=model.allow_partial,
            allow_extra=model.allow_extra,
        )
    spec = backbone.feature_specs()["res4"]
    divisor = size_divisor(backbone)
    neck = TakeStage("res4")
    return Trunk(backbone, neck, [spec], pooled_levels=1, size_divisor=divisor, res5=res5)


_TRUNKS = {"fpn": _fpn_trunk, "dc5": _dc5_trunk, "c4": _c4_trunk}


def _backbone(
    model: ModelConfig,
    weights: Stored | None,
    stages: tuple[str, ...],
    output_stride: int | None = None,
) -> Backbone:
    options = _options(model)
    if output_stride is not None:
        options["output_stride"] = output_stride
    name = model.backbone.name
    try:
        return create_backbone(
            name,
            weights=weights or _timms(model),
            out_features=stages,
            allow_partial=model.allow_partial,
            allow_extra=model.allow_extra,
            **options,
        )
    except ConfigError as error:
        raise ConfigError(f"model.backbone, {name}: {error}") from error


def _timms(model: ModelConfig) -> str | None:
    """Returns the name of weights that timm itself loads when it builds the network, or None."""
    source = model.backbone.weights
    return source if model.weights is None and weights_are_timms(source) else None


def _options(model: ModelConfig) -> dict[str, Any]:
    """Returns the keys of `model.backbone` that are arguments of `create_backbone`."""
    return model.backbone.model_dump(exclude={"name", "weights"})
