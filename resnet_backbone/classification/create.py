"""Classifiers by name."""

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
        name: A registered network, see `list_backbones`.
        num_classes: Number of scores.
        weights: What `load_weights` takes; the file must hold a classifier of as many classes.
        **options: Those of `create_backbone` from `norm` on, but `freeze_at`; `norm` is "BN" here.
            `stride_in_1x1` and `norm_eps` are the card's where they are not given.

    Raises:
        ConfigError: an argument is none of the allowed values.
        WeightsError: the weights cannot be read, or do not cover the network.
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
