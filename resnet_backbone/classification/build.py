"""From the configuration to a classifier: the only module here that reads it."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier, Loss
from resnet_backbone.classification.losses import binary_cross_entropy, cross_entropy
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.card import Triple
from resnet_backbone.weights.presets import TORCHVISION
from resnet_backbone.weights.stored import find_card


def build_image_classifier(
    cfg: ClassifierConfig, num_classes: int, *, mean_image: Tensor | None = None
) -> ImageClassifier:
    """Returns the classifier that `cfg` describes, float32, channels_last, on the CPU.

    Args:
        cfg: The model's section.
        num_classes: Of the data.
        mean_image: float32[3, h, w] in RGB, instead of `cfg.pixels.mean`.

    Raises:
        ConfigError: there is no such network; more classes than outputs; or the configuration
            contradicts the card of the weights.
        WeightsError: the weights that it starts from cannot be loaded completely.
    """
    outputs = cfg.num_classes or num_classes
    if outputs < num_classes:
        raise ConfigError(
            f"model.num_classes is {outputs}, but the data name {num_classes} classes; leave the "
            "key out to take the number from the data"
        )
    pixels = settled_pixels(cfg)
    network = create_classifier(
        cfg.name,
        num_classes=outputs,
        weights=cfg.weights,
        norm=cfg.norm,
        zero_init_residual=cfg.zero_init_residual,
        stochastic_depth=cfg.stochastic_depth,
        activation_checkpointing=cfg.activation_checkpointing,
        **_stated(cfg),
    )
    if mean_image is not None and pixels.channel_order == "BGR":
        mean_image = mean_image.flip(0)
    return ImageClassifier(
        network.train(),
        _loss(cfg),
        pixel_mean=torch.tensor(pixels.mean) if mean_image is None else mean_image,
        pixel_std=pixels.std,
        channel_order=pixels.channel_order,
    )


class Pixels(NamedTuple):
    """How the network wants its pixels; mean and std in `channel_order`, of 0 to 255."""

    channel_order: Literal["RGB", "BGR"]
    mean: Triple
    std: Triple


def settled_pixels(cfg: ClassifierConfig) -> Pixels:
    """Returns what the configuration says, or else the card of the weights, or else ImageNet's.

    Raises:
        ConfigError: the configuration contradicts the card; shows both.
        WeightsError: the weights cannot be read.
    """
    card = None if cfg.weights is None else find_card(cfg.weights, cfg.name)
    known = TORCHVISION if card is None else card.at_255()
    values: dict[str, Any] = {}
    for key in Pixels._fields:
        stated, found = getattr(cfg.pixels, key), getattr(known, key)
        if card is not None and None not in (stated, found) and stated != found:
            raise ConfigError(
                f"model.pixels.{key} is {stated}, but the card of {cfg.weights} says {found}"
            )
        candidates = (stated, found, getattr(TORCHVISION, key))
        values[key] = next(value for value in candidates if value is not None)
    return Pixels(**values)


def _stated(cfg: ClassifierConfig) -> dict[str, Any]:
    """Options that are passed on only where they are given: None leaves them to the weights."""
    options = {"stride_in_1x1": cfg.stride_in_1x1, "norm_eps": cfg.norm_eps}
    return {key: value for key, value in options.items() if value is not None}


def _loss(cfg: ClassifierConfig) -> Loss:
    function = cross_entropy if cfg.loss == "ce" else binary_cross_entropy
    return partial(function, label_smoothing=cfg.label_smoothing)
