"""Builds a classifier from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier, Loss
from resnet_backbone.classification.losses import binary_cross_entropy, cross_entropy
from resnet_backbone.classification.settle import settle_classifier
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.stored import Stored, read_weights


def build_image_classifier(
    cfg: ClassifierConfig,
    num_classes: int,
    *,
    mean_image: Tensor | None = None,
    weights: Stored | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageClassifier:
    """Returns the classifier that `cfg` describes: float32, channels_last, on the CPU.

    Args:
        cfg: The configuration's section `model`.
        num_classes: Number of classes in the dataset.
        mean_image: float32[3, h, w], RGB, 0 to 255; replaces `cfg.pixels.mean`.
        weights: The weights that `cfg` names, if they have already been read.
        class_names: Names of the dataset's classes, where known, see `load_weights`.

    Raises:
        ConfigError: there is no such network, the dataset has more classes than the network has
            outputs, or the configuration contradicts the card of the weights.
        WeightsError: the weights to start from cannot be loaded, or lack parameters.
    """
    outputs = cfg.num_classes or num_classes
    if outputs < num_classes:
        raise ConfigError(
            f"model.num_classes is {outputs}, but the dataset has {num_classes} classes; remove "
            "this key to take the number from the dataset"
        )
    if weights is None and cfg.weights is not None:
        weights = read_weights(cfg.weights, cfg.name)
    cfg = settle_classifier(cfg, weights)
    pixels = cfg.pixels.settled()
    network = create_classifier(
        cfg.name,
        num_classes=outputs,
        weights=weights,
        class_layers=cfg.class_layers,
        class_names=class_names,
        allow_extra=cfg.allow_extra,
        norm=cfg.norm,
        norm_eps=cfg.norm_eps,
        stride_in_1x1=cfg.stride_in_1x1,
        zero_init_residual=cfg.zero_init_residual,
        stochastic_depth=cfg.stochastic_depth,
        activation_checkpointing=cfg.activation_checkpointing,
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


def _loss(cfg: ClassifierConfig) -> Loss:
    function = cross_entropy if cfg.loss == "ce" else binary_cross_entropy
    return partial(function, label_smoothing=cfg.label_smoothing)
