"""What a classifier's configuration leaves to its weights: taken from them, or compared."""

from __future__ import annotations

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.weights.agreement import agree, facts
from resnet_backbone.weights.presets import without_weights
from resnet_backbone.weights.stored import Stored, find_card

_NETWORK = ("stride_in_1x1", "norm_eps")
_PIXELS = ("channel_order", "mean", "std")


def settle_classifier(cfg: ClassifierConfig, weights: Stored | None = None) -> ClassifierConfig:
    """Returns `cfg` with everything decided that it leaves to the weights.

    These are the stride's place, the norms' eps, and the pixels' order and normalisation. Without
    weights they are torchvision's. Settling twice changes nothing.

    Args:
        cfg: The model's section.
        weights: What was read; None: the card of the file that `cfg` starts from.

    Raises:
        ConfigError: there is no such network; `cfg` contradicts the weights' card (shows both); or
            neither says what must be known (says which keys to set).
        WeightsError: the weights cannot be read.
    """
    variant = get_variant(cfg.name)
    source, card = cfg.weights, None
    if weights is not None:
        source, card = weights.source, weights.card
    elif source is not None:
        card = find_card(source, cfg.name)
    # A mean image is subtracted instead of the mean, which then only colours what is padded.
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
