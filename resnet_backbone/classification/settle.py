"""Completes a classifier's configuration from the card of its weights, or checks it against it."""

from __future__ import annotations

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.weights.agreement import agree, facts
from resnet_backbone.weights.presets import without_weights
from resnet_backbone.weights.stored import Stored, find_card

_NETWORK = ("stride_in_1x1", "norm_eps")
_PIXELS = ("channel_order", "mean", "std")


def settle_classifier(cfg: ClassifierConfig, weights: Stored | None = None) -> ClassifierConfig:
    """Returns `cfg` with every value that it leaves to the weights filled in.

    These values are `stride_in_1x1`, `norm_eps`, and the channel order and normalisation of the
    pixels. Without weights they are torchvision's. Settling twice changes nothing.

    Args:
        cfg: The configuration's section `model`.
        weights: The weights, if they have been read; None uses the card of the file `cfg.weights`.

    Raises:
        ConfigError: there is no such network; `cfg` contradicts the weights' card (the message
            shows both); or neither states a required value (the message names the keys to set).
        WeightsError: the weights cannot be read.
    """
    variant = get_variant(cfg.name)
    source, card = cfg.weights, None
    if weights is not None:
        source, card = weights.source, weights.card
    elif source is not None:
        card = find_card(source, cfg.name)
    # A mean image replaces the mean for normalisation; the mean then only fills padding.
    pixels = [name for name in _PIXELS if name != "mean" or cfg.mean_image is None]
    stated = [
        *facts({name: getattr(cfg, name) for name in _NETWORK}, "model."),
        *facts({name: getattr(cfg.pixels, name) for name in pixels}, "model.pixels."),
    ]
    values = agree(stated, card, source=source, variant=variant)
    values.setdefault("mean", cfg.pixels.mean or without_weights(values["channel_order"]).mean)
    settled = cfg.pixels.model_copy(update={name: values[name] for name in _PIXELS})
    network = {name: values[name] for name in _NETWORK}
    return cfg.model_copy(update={**network, "pixels": settled})
