"""Creates classifiers by name, with or without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.classification.classifier import Classifier
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.agreement import agree, facts
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored, read_weights


def create_classifier(
    name: str,
    *,
    num_classes: int = 1000,
    weights: str | Path | Stored | None = None,
    **options: Any,  # noqa: ANN401
) -> Classifier:
    """Builds a classifier in channels_last memory format.

    Args:
        name: The name of a registered network, see `list_backbones`.
        num_classes: Number of classes.
        weights: Anything `load_weights` takes; it must hold a classifier with `num_classes`
            classes.
        **options: The options of `create_backbone` from `norm` on, except `freeze_at`. Here `norm`
            defaults to "BN". `stride_in_1x1` and `norm_eps` default to the values on the weights'
            card.

    Raises:
        ConfigError: an argument has a value that is not allowed.
        WeightsError: the weights cannot be read, or do not fit the network.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes: got {num_classes!r}, expected 1 or more")
    stored, variant = None, get_variant(name)
    stated = {key: options.pop(key, None) for key in ("stride_in_1x1", "norm_eps")}
    if weights is None:
        options |= {key: value for key, value in stated.items() if value is not None}
    else:
        stored = weights if isinstance(weights, Stored) else read_weights(weights, name)
        options |= agree(facts(stated), stored.card, source=stored.source, variant=variant)
    net = Classifier(name, variant, num_classes=num_classes, options=Options(**options))
    if stored is not None:
        load_weights(net, stored)
    return net.to(memory_format=torch.channels_last)
