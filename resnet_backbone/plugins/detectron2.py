"""This package's networks in detectron2. Importing this module registers the builders.

    import resnet_backbone.plugins.detectron2
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_rb_resnet_fpn_backbone"
    cfg.MODEL.RESNET_BACKBONE.NAME = "resnet50d"

`MODEL.RESNET_BACKBONE` has the keys of `model.backbone` in upper case. Where detectron2 has a key
of its own, that one is used: `MODEL.BACKBONE.FREEZE_AT`, `MODEL.RESNETS.OUT_FEATURES` and
`RES5_DILATION`; and for the pixels `MODEL.PIXEL_MEAN`, `MODEL.PIXEL_STD` and `INPUT.FORMAT`. The
other keys of `MODEL.RESNETS` describe detectron2's own ResNet; setting one to a contradicting value
is an error. The import adds the section to detectron2's defaults, so scripts that call its
`get_cfg` work without changes.

For LazyConfig: `L(create_detectron2_backbone)(name="resnet50", out_features=["res2", ...])`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from detectron2.config import CfgNode
from detectron2.config.defaults import _C as DEFAULTS
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.roi_heads import Res5ROIHeads
from pydantic import ValidationError
from torch import Tensor, nn

from resnet_backbone.backbone.foreign import is_foreign, size_divisor
from resnet_backbone.backbone.resnet import ResNet
from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.config.explain import describe
from resnet_backbone.config.schema import BackboneConfig, Config, ModelConfig, PixelConfig
from resnet_backbone.create import RES5_OPTIONS, create_backbone, create_res5
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.errors import ConfigError
from resnet_backbone.plugins.detectron2_names import BACKBONE, RES5, use_detectron2_names
from resnet_backbone.weights.agreement import refuse_network_built_otherwise
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.embedded import EXTRA_STATE, card_of, card_tensor
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored, read_weights

SECTION = "RESNET_BACKBONE"
_PLACE = f"MODEL.{SECTION}"
_DETECTRON2_KEYS = ("freeze_at",)  # keys that detectron2 has itself
# Our key -> the key by which detectron2's users know it; for messages.
_NAMES = {
    "model.backbone.": f"{_PLACE}.",
    "model.pixels.channel_order": "INPUT.FORMAT",
    "model.pixels.mean": "MODEL.PIXEL_MEAN",
    "model.pixels.std": "MODEL.PIXEL_STD",
}

logger = logging.getLogger(__name__)


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.RESNET_BACKBONE` with our defaults, unless it exists."""
    if SECTION in cfg.MODEL:
        return
    defaults = BackboneConfig().model_dump(exclude=set(_DETECTRON2_KEYS))
    cfg.MODEL[SECTION] = CfgNode({key.upper(): value for key, value in defaults.items()})
    # Any key, since users' builders define their own options; nested nodes do not inherit this.
    cfg.MODEL[SECTION].OPTIONS = CfgNode(new_allowed=True)


class Detectron2Backbone(Backbone):
    """A network of this package as a detectron2 `Backbone`.

    Its state dict carries a card, so that checkpoints say what their weights need; where it is
    loaded into a network that was built otherwise, that is an error. Its names are detectron2's
    where detectron2 has the network, see `detectron2_names`.

    Args:
        net: The result of `create_backbone`.
        card: What is known beside the network: of its pixels, for example.
    """

    def __init__(self, net: nn.Module, card: WeightsCard | None = None) -> None:
        super().__init__()
        self.net: Any = net
        self.card = _with_network(card or WeightsCard(), net)
        if isinstance(net, ResNet):
            use_detectron2_names(self, BACKBONE, net.name)
        self.register_load_state_dict_pre_hook(_with_own_card)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps normalised images float[B, C, H, W] to the features named in `output_shape`."""
        return self.net(x)

    @property
    def size_divisibility(self) -> int:
        """What sides of images must be multiples of; detectron2 says 0 where any size will do."""
        divisor = size_divisor(self.net)
        return divisor if divisor > 1 else 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Explains why a part of detectron2's ResNet is asked for, which is in `net` here."""
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            if name not in ("stem", "res2", "res3", "res4", "res5"):
                raise
            raise AttributeError(
                f"no attribute {name!r}: the stages are in `net`. fvcore's checkpointer asks for it"
                f" where a checkpoint's tensors have other shapes than those of {self.net.name}:"
                " it holds another network than MODEL.RESNET_BACKBONE.NAME says"
            ) from error

    def get_extra_state(self) -> Tensor:
        """Returns the card, which becomes a tensor of the state dict."""
        return card_tensor(self.card)

    def set_extra_state(self, state: Tensor) -> None:
        """Compares the card of a checkpoint with the network; it changes nothing.

        Raises:
            WeightsError: the network was built otherwise.
        """
        card = card_of(state)
        if card is not None and isinstance(self.net, ResNet):
            stored = Stored("the checkpoint", {}, "ours", "backbone", card)
            refuse_network_built_otherwise(stored, self.net.variant, self.net.options)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Returns the channels and stride of each feature."""
        specs = self.net.feature_specs()
        return {
            name: ShapeSpec(channels=spec.channels, stride=spec.stride)
            for name, spec in specs.items()
        }

    def freeze(self, freeze_at: int = 0) -> Detectron2Backbone:
        """Freezes the first stages, see `ResNet.freeze`; returns self."""
        self.net.freeze(freeze_at)
        return self


def create_detectron2_backbone(
    name: str,
    **options: Any,  # noqa: ANN401
) -> Detectron2Backbone:
    """Returns `create_backbone(name, **options)` as a detectron2 `Backbone`; use in LazyConfig."""
    card, weights = None, options.get("weights")
    if weights is not None and not is_foreign(name):
        options["weights"] = stored = read_weights(weights, name)
        card = stored.card
    return Detectron2Backbone(create_backbone(name, **options), card)


def _with_network(card: WeightsCard, net: nn.Module) -> WeightsCard:
    """Adds what the network itself knows."""
    update: dict[str, Any] = {"layout": "ours", "source": None, "recipe": None, "top1": None}
    if isinstance(net, ResNet):
        stride, eps = net.options.stride_in_1x1, net.options.norm_eps
        update |= {"arch": net.name, "stride_in_1x1": stride, "norm_eps": eps}
    return card.model_copy(update=update)


def _with_own_card(
    module: Detectron2Backbone, state_dict: dict[str, Any], prefix: str, *_unused: object
) -> None:
    """Lets a state dict without a card be loaded strictly."""
    state_dict.setdefault(f"{prefix}{EXTRA_STATE}", module.get_extra_state())


@BACKBONE_REGISTRY.register()
def build_rb_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Detectron2Backbone:
    """Builds a network without a neck, for C4 and DC5.

    Args:
        cfg: detectron2's configuration with `MODEL.RESNET_BACKBONE`.
        input_shape: Its channels are the network's input channels.

    Raises:
        ConfigError: a value is not allowed, or contradicts the weights' card.
        WeightsError: the weights do not fit the network.
    """
    model = _settled(cfg)
    options = _options(model.backbone)
    if options["weights"] is not None and _has_their_res5(cfg):
        logger.warning(
            "MODEL.ROI_HEADS.NAME: Res5ROIHeads builds detectron2's own res5, which does not get"
            " %s.WEIGHTS; RBRes5ROIHeads uses the res5 of this package with these weights",
            _PLACE,
        )
    stages = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    net = create_backbone(
        in_channels=input_shape.channels,
        out_features=stages,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        **options,
    )
    pixels = model.pixels
    card = WeightsCard(channel_order=pixels.channel_order, mean=pixels.mean, std=pixels.std)
    return Detectron2Backbone(net, card)


@BACKBONE_REGISTRY.register()
def build_rb_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Builds a network with detectron2's FPN, P2 to P6; see `build_rb_resnet_backbone`."""
    bottom_up = build_rb_resnet_backbone(cfg, input_shape)
    return _pyramid(cfg, bottom_up, LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_rb_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Builds a network with RetinaNet's FPN, P3 to P7; see `build_rb_resnet_backbone`."""
    bottom_up = build_rb_resnet_backbone(cfg, input_shape)
    channels = bottom_up.output_shape()["res5"].channels
    return _pyramid(cfg, bottom_up, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


@ROI_HEADS_REGISTRY.register()
class RBRes5ROIHeads(Res5ROIHeads):
    """detectron2's C4 heads on this package's res5, with its norm, stride and weights."""

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Module, int]:
        options = read_options(cfg)
        name, weights = options["name"], options["weights"]
        res5 = create_res5(name, **{key: options[key] for key in RES5_OPTIONS})
        if weights is not None:
            load_weights(res5, weights, prefix="layer4.", arch=name)
        use_detectron2_names(res5, RES5, name)
        return res5, res5.out_channels


def read_options(cfg: CfgNode) -> dict[str, Any]:
    """Returns arguments for `create_backbone` from `MODEL.RESNET_BACKBONE` and the weights' card.

    Raises:
        ConfigError: the section has errors; the message lists them all, with detectron2's keys.
    """
    return _options(_settled(cfg).backbone)


def _options(backbone: BackboneConfig) -> dict[str, Any]:
    return backbone.model_dump(exclude=set(_DETECTRON2_KEYS))


def _settled(cfg: CfgNode) -> ModelConfig:
    """Returns our settings of backbone and pixels, see `read_options`."""
    section = {key.lower(): _plain(value) for key, value in cfg.MODEL[SECTION].items()}
    try:
        backbone = BackboneConfig.model_validate(section)
        pixels = PixelConfig(
            channel_order=cfg.INPUT.FORMAT,
            mean=tuple(cfg.MODEL.PIXEL_MEAN),
            std=tuple(cfg.MODEL.PIXEL_STD),
        )
    except ValidationError as error:
        lines = [
            f"{_key(finding['loc'])}: {describe(finding, BackboneConfig)}"
            for finding in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from error
    if not is_foreign(backbone.name):
        try:
            get_variant(backbone.name)
        except ConfigError as error:
            raise ConfigError(f"{_PLACE}.NAME: {error}") from error
    if cfg.MODEL.RESNETS.RES5_DILATION == 2:
        stride = min(16, backbone.output_stride)
        backbone = backbone.model_copy(update={"output_stride": stride})
    try:
        settled = settle_detector(Config(model=ModelConfig(backbone=backbone, pixels=pixels)))
    except ConfigError as error:
        raise ConfigError(_in_their_words(str(error))) from error
    _refuse_contradictions(cfg, settled.model.backbone)
    return settled.model


def _refuse_contradictions(cfg: CfgNode, backbone: BackboneConfig) -> None:
    """Raises ConfigError if keys for detectron2's own ResNet ask for a different network."""
    theirs, defaults = cfg.MODEL.RESNETS, cast(CfgNode, DEFAULTS).MODEL.RESNETS
    deformed = [stage in backbone.deformable for stage in ("res2", "res3", "res4", "res5")]
    # Key -> our key, and the value it must have; None: NAME determines it, but not as a number.
    counterparts: dict[str, tuple[str, Any]] = {
        "DEPTH": ("NAME", _depth(backbone.name)),
        "NUM_GROUPS": ("NAME", None),
        "WIDTH_PER_GROUP": ("NAME", None),
        "NORM": ("NORM", backbone.norm),
        "STRIDE_IN_1X1": ("STRIDE_IN_1X1", backbone.stride_in_1x1),
        "DEFORM_ON_PER_STAGE": ("DEFORMABLE", deformed),
    }
    lines = [
        f"MODEL.RESNETS.{key}: found {theirs[key]!r}, which applies to detectron2's own ResNet and"
        f" contradicts {_PLACE}.{ours}, {getattr(backbone, ours.lower())!r}; remove this key"
        for key, (ours, value) in counterparts.items()
        if theirs[key] not in (defaults[key], value)
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def _depth(name: str) -> int | None:
    """Returns the depth in a plain name such as "resnet101", otherwise None."""
    digits = name.removeprefix("resnet")
    return int(digits) if digits.isdecimal() else None


def _has_their_res5(cfg: CfgNode) -> bool:
    """Returns whether regions are processed by a res5 that detectron2 builds."""
    heads = cfg.MODEL.ROI_HEADS.NAME
    return bool(cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" and heads == "Res5ROIHeads")


def _pyramid(cfg: CfgNode, bottom_up: Detectron2Backbone, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Converts yacs nodes and lists to the dictionaries and tuples of our schema."""
    if isinstance(value, CfgNode):
        return {key: _plain(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _key(place: Sequence[int | str]) -> str:
    first = str(place[0])
    if first in PixelConfig.model_fields:
        return _NAMES[f"model.pixels.{first}"]
    return ".".join((_PLACE, *(str(part).upper() for part in place)))


def _in_their_words(text: str) -> str:
    text = text.replace("leave these keys out to take the card's", "set these keys to the card's")
    for ours, theirs in _NAMES.items():
        text = text.replace(ours, theirs)
    for key in BackboneConfig.model_fields:
        text = text.replace(f"{_PLACE}.{key}", f"{_PLACE}.{key.upper()}")
    return text


add_config(cast(CfgNode, DEFAULTS))
