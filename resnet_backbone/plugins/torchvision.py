"""This package's networks in torchvision. Importing this module registers them for `get_model`.

    import resnet_backbone.plugins.torchvision
    classifier = torchvision.models.get_model("rb_resnet50d", num_classes=10)
    detector = torchvision.models.get_model(
        "rb_maskrcnn_resnet50_fpn", weights_backbone="torchvision/IMAGENET1K_V2"
    )

`torchvision_fpn_backbone` and `torchvision_backbone` create backbones for the classes in
`torchvision.models.detection`. Parameters have torchvision's names.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights, list_models
from torchvision.models._api import register_model  # public by its documentation only
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from resnet_backbone.backbone.foreign import is_foreign
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.variants import get_variant, list_backbones
from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.utils.arguments import refuse_unknown
from resnet_backbone.utils.text import count_of, listing
from resnet_backbone.weights.agreement import agree, facts
from resnet_backbone.weights.card import WeightsCard, card_in
from resnet_backbone.weights.files import read_weight_file
from resnet_backbone.weights.fold import fold_input
from resnet_backbone.weights.stored import Stored, read_weights

PREFIX = "rb_"
FPN_CHANNELS = 256

logger = logging.getLogger(__name__)

Weights: TypeAlias = str | Path | WeightsEnum | None
# Names that torchvision's `get_model` takes: "DEFAULT", "ResNet50_Weights.IMAGENET1K_V2".
_ENTRY = re.compile(r"(?:\w+_Weights\.)?(IMAGENET1K_\w+|DEFAULT)")


class TorchvisionBackbone(nn.Module):
    """A backbone with an optional neck, in the form that torchvision's detectors require.

    Args:
        body: The backbone, which returns a dictionary of feature maps.
        fpn: Maps a dictionary of feature maps to another; None returns those of `body`.
        out_channels: Channels of every returned map.
        card: What is known about the weights of `body`.

    Attributes:
        pixels: The keywords image_mean and image_std for torchvision's detectors, if `card` states
            them; otherwise empty, since torchvision's defaults suit torchvision's weights.
    """

    def __init__(
        self,
        body: nn.Module,
        fpn: FeaturePyramidNetwork | None,
        out_channels: int,
        card: WeightsCard | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = out_channels
        self.pixels = _pixels(card)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Maps float[B, 3, H, W], RGB, to maps float[B, out_channels, h, w] named "0", "1", ..."""
        maps = self.body(x).values()
        numbered = OrderedDict((str(index), each) for index, each in enumerate(maps))
        return numbered if self.fpn is None else self.fpn(numbered)


def torchvision_fpn_backbone(
    name: str,
    *,
    weights: Weights = None,
    trainable_layers: int = 3,
    returned_layers: Sequence[int] = (1, 2, 3, 4),
    extra_blocks: ExtraFPNBlock | None = None,
    **options: Any,  # noqa: ANN401
) -> TorchvisionBackbone:
    """Builds the equivalent of torchvision's `resnet_fpn_backbone` on any of our backbones.

    Args:
        name: The backbone's name, as for `create_backbone`, including "timm/NAME".
        weights: A file, "torchvision/IMAGENET1K_V1", or an entry of a torchvision weights enum. The
            card determines `stride_in_1x1` and `norm_eps`; weights for BGR are converted to RGB.
        trainable_layers: How many of stem, res2, ... res5 are trained, counted from the end; 5
            trains all.
        returned_layers: The stages that feed the pyramid; 1 is res2.
        extra_blocks: Creates the coarser maps; None uses torchvision's `LastLevelMaxPool`.
        **options: Other options of `create_backbone`: norm ("FrozenBN" by default), deformable ...

    Raises:
        ConfigError: an argument has a value that is not allowed.
        WeightsError: the weights cannot be read, or do not fit the network.
    """
    body, card = _body(name, weights, trainable_layers, returned_layers, options)
    channels = [spec.channels for spec in body.feature_specs().values()]
    fpn = FeaturePyramidNetwork(channels, FPN_CHANNELS, extra_blocks or LastLevelMaxPool())
    return TorchvisionBackbone(body, fpn, FPN_CHANNELS, card)


def torchvision_backbone(
    name: str,
    *,
    weights: Weights = None,
    trainable_layers: int = 3,
    returned_layer: int = 4,
    **options: Any,  # noqa: ANN401
) -> TorchvisionBackbone:
    """Builds a backbone with one feature map and no neck; see `torchvision_fpn_backbone`."""
    body, card = _body(name, weights, trainable_layers, (returned_layer,), options)
    (spec,) = body.feature_specs().values()
    return TorchvisionBackbone(body, None, spec.channels, card)


def torchvision_detector(
    kind: str,
    name: str,
    *,
    weights: Weights = None,
    weights_backbone: Weights = None,
    num_classes: int = 91,
    trainable_backbone_layers: int | None = None,
    progress: bool = True,
    **settings: Any,  # noqa: ANN401
) -> nn.Module:
    """Builds a torchvision detector on one of our backbones with FPN.

    The arguments are those of torchvision's builders, so its reference scripts can use it.

    Args:
        kind: One of `DETECTORS`.
        name: The backbone's name, as for `create_backbone`.
        weights: A file with the state dict of the whole detector, for example torchvision's own. A
            card in it determines `stride_in_1x1`, `norm_eps`, image_mean and image_std. Of another
            number of classes, the layers that depend on it are drawn, which a warning says.
        weights_backbone: Weights of the backbone, as for `torchvision_fpn_backbone`.
        num_classes: Number of classes including the background, as torchvision counts.
        trainable_backbone_layers: As `trainable_layers` of `torchvision_fpn_backbone`; None: 3 with
            weights, 5 without. As in torchvision, norms are frozen with weights and "BN" without.
        progress: Ignored: no bar is shown.
        **settings: Arguments of torchvision's class, and options of `create_backbone` (norm,
            deformable, stride_in_1x1 ...). image_mean and image_std default to those of the
            weights.

    Raises:
        ConfigError: an argument has a value that is not allowed or contradicts the card of
            `weights`, or there is no such argument.
        WeightsError: the weights cannot be read, or do not fit the network.
    """
    detector, pyramid = DETECTORS[kind]
    known = (*_BACKBONE_OPTIONS, *_arguments_of(detector))
    refuse_unknown(settings, known, f"{PREFIX}{kind}_{name}_fpn")
    state, card = (None, None) if weights is None else _whole(str(weights))
    trained = weights is not None or weights_backbone is not None
    if trainable_backbone_layers is None:
        trainable_backbone_layers = 3 if trained else 5
    options = {key: settings.pop(key) for key in _BACKBONE_OPTIONS if key in settings}
    if card is not None:
        variant = None if is_foreign(name) else get_variant(name)
        stated = facts({key: options.get(key) for key in _facts(card)})
        agree(stated, card, source=str(weights), variant=variant)  # refuses contradictions
    backbone = torchvision_fpn_backbone(
        name,
        weights=weights_backbone,
        trainable_layers=trainable_backbone_layers,
        **pyramid(),
        **({"norm": "FrozenBN" if trained else "BN"} | _facts(card) | options),
    )
    model = detector(backbone, num_classes, **(backbone.pixels | _pixels(card) | settings))
    if state is not None:
        _load_all(model, state, str(weights))
    return model


def _one_stage_pyramid() -> dict[str, Any]:
    """RetinaNet's pyramid (Lin et al. 2017, section 4): P3 to P5, and two strided convolutions."""
    blocks = LastLevelP6P7(FPN_CHANNELS, FPN_CHANNELS)
    return {"returned_layers": (2, 3, 4), "extra_blocks": blocks}


DETECTORS: dict[str, tuple[Callable[..., nn.Module], Callable[[], dict[str, Any]]]] = {
    "fasterrcnn": (FasterRCNN, dict),
    "maskrcnn": (MaskRCNN, dict),
    "retinanet": (RetinaNet, _one_stage_pyramid),
    "fcos": (FCOS, _one_stage_pyramid),
}


# Of torchvision's detectors, the layers with rows for each class.
_CLASS_LAYERS = (
    "roi_heads.box_predictor.",
    "roi_heads.mask_predictor.mask_fcn_logits.",
    "head.classification_head.cls_logits.",
)
# What torchvision's classes take by **kwargs, and pass on without looking at it.
_TRANSFORM = (*inspect.signature(GeneralizedRCNNTransform.__init__).parameters, "_skip_resize")
_BACKBONE_OPTIONS = tuple(
    name
    for name in inspect.signature(create_backbone).parameters
    if name not in ("name", "weights", "out_features", "freeze_at")
)


def _arguments_of(detector: Callable[..., nn.Module]) -> tuple[str, ...]:
    names = (*inspect.signature(detector).parameters, *_TRANSFORM)
    return tuple(n for n in names if n not in ("self", "backbone", "num_classes", "kwargs"))


def _whole(source: str) -> tuple[dict[str, Tensor], WeightsCard | None]:
    """Reads a whole detector under torchvision's names, which has to be one for RGB."""
    file = read_weight_file(source)
    card = card_in(file.text, source)
    if card is not None and card.channel_order == "BGR":
        raise WeightsError(
            f"{source}: its card says BGR, but torchvision's detectors take RGB; convert it with"
            " --to torchvision --fold RGB"
        )
    return file.tensors, card


def _load_all(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads a whole detector; for other classes, all but the layers with rows for each class."""
    own = model.state_dict()
    layers = {name: tensor for name, tensor in own.items() if name.startswith(_CLASS_LAYERS)}
    if any(name in state and _differ_in_rows(state[name], layers[name]) for name in layers):
        logger.warning(
            "%s: the file has another number of classes; drawn at random: %s, %s",
            *(source, count_of(len(layers), "tensor"), listing(list(layers))),
        )
        state = state | layers
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reasons = " ".join(str(error).split())
        raise WeightsError(f"{source}: does not fit the detector: {reasons:.500}") from error


def _differ_in_rows(theirs: Tensor, ours: Tensor) -> bool:
    return theirs.shape != ours.shape and theirs.shape[1:] == ours.shape[1:]


def _facts(card: WeightsCard | None) -> dict[str, Any]:
    """Returns the options of the backbone that a card states."""
    known = {} if card is None else card.model_dump(include={"stride_in_1x1", "norm_eps"})
    return {key: value for key, value in known.items() if value is not None}


def _body(
    name: str,
    weights: Weights,
    trainable_layers: int,
    returned_layers: Sequence[int],
    options: dict[str, Any],
) -> tuple[Any, WeightsCard | None]:
    if trainable_layers not in range(6):
        raise ConfigError(f"trainable_layers: got {trainable_layers!r}, expected 0 to 5")
    refuse_unknown(options, _BACKBONE_OPTIONS, name)
    source, card = _for_rgb(name, weights)
    if isinstance(source, Stored) and (card is None or card.mean is None or card.std is None):
        logger.warning(
            "%s: nothing is known about its pixels; torchvision's mean and deviation, and RGB, are"
            " assumed: image_mean and image_std of the detector change that",
            source.source,
        )
    options = _facts(card) | options
    stages = [f"res{layer + 1}" for layer in returned_layers]
    body = create_backbone(
        name,
        weights=source,
        out_features=stages,
        freeze_at=5 - trainable_layers,
        **options,
    )
    return body, card


def _for_rgb(name: str, weights: Weights) -> tuple[str | Stored | None, WeightsCard | None]:
    """Returns the weights converted to RGB, which torchvision's detectors use, and their card."""
    source = _source(weights)
    if source is None or is_foreign(name):
        return source, None
    stored = read_weights(source, name)
    if stored.card is None or stored.card.channel_order != "BGR":
        return stored, stored.card
    tensors, card = fold_input(stored.tensors, stored.card, channel_order="RGB")
    return replace(stored, tensors=tensors, card=card), card


def _source(weights: Weights) -> str | None:
    """Returns `weights` in the form that `load_weights` takes; torchvision's prefix is optional."""
    if isinstance(weights, WeightsEnum):
        return f"torchvision/{weights.name}"
    if isinstance(weights, str) and (entry := _ENTRY.fullmatch(weights)):
        return f"torchvision/{entry[1]}"
    return None if weights is None else str(weights)


def _pixels(card: WeightsCard | None) -> dict[str, list[float]]:
    """Returns torchvision's normalisation arguments, for pixels between 0 and 1."""
    if card is None or card.mean is None or card.std is None:
        return {}
    mean, std = ([value / card.pixel_scale for value in row] for row in (card.mean, card.std))
    return {"image_mean": mean, "image_std": std}


_CLASSIFIER_OPTIONS = tuple(field.name for field in fields(Options))


def _register(name: str) -> None:
    """Registers "rb_NAME" and, for networks with four stages, "rb_DETECTOR_NAME_fpn"."""

    def classifier(
        *,
        weights: Weights = None,
        num_classes: int = 1000,
        progress: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> nn.Module:
        refuse_unknown(options, _CLASSIFIER_OPTIONS, f"{PREFIX}{name}")
        return create_classifier(name, weights=_source(weights), num_classes=num_classes, **options)

    if name in list_models(module=torchvision.models):
        # Where `get_model_weights` looks: torchvision's weights for the network of that name.
        classifier.__annotations__["weights"] = get_model_weights(name) | None
    register_model(f"{PREFIX}{name}")(classifier)
    if len(get_variant(name).counts) == 4:
        for kind in DETECTORS:
            builder = functools.partial(torchvision_detector, kind, name)
            register_model(f"{PREFIX}{kind}_{name}_fpn")(builder)


for _name in list_backbones():
    if not is_foreign(_name):
        _register(_name)
