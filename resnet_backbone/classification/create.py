"""Creates classifiers by name, with or without weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from resnet_backbone.backbone.resnet import options_from
from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.classification.classifier import Classifier
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.agreement import agree, facts
from resnet_backbone.weights.class_layers import ClassLayers, class_count
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored, read_weights

IMAGENET = 1000  # classes


def create_classifier(
    name: str,
    *,
    num_classes: int | None = None,
    weights: str | Path | Stored | None = None,
    allow_partial: Sequence[str] = (),
    allow_extra: Sequence[str] = (),
    class_layers: ClassLayers = "auto",
    class_names: Sequence[str] | None = None,
    **options: Any,  # noqa: ANN401
) -> Classifier:
    """Builds a classifier in channels_last memory format.

    Args:
        name: The name of a registered network, see `list_backbones`.
        num_classes: Number of classes; None takes the number of the weights, or 1000.
        weights: Anything `load_weights` takes: a classifier, or a backbone alone. If it has another
            number of classes than `num_classes`, or no last layer, that layer keeps its random
            values, and a warning says so.
        allow_partial: Patterns of parameters that `weights` may lack, see `load_weights`.
        allow_extra: Patterns of names in `weights` that the network may lack, see `load_weights`.
        class_layers: What to do with the weights' last layer, see `load_weights`.
        class_names: Names of the classes, where known, see `load_weights`.
        **options: The options of `create_backbone` from `norm` on, except `freeze_at`. Here `norm`
            defaults to "BN". `stride_in_1x1` and `norm_eps` default to the values on the weights'
            card.

    Raises:
        ConfigError: an argument has a value that is not allowed.
        WeightsError: the weights cannot be read, or do not fit the network.
    """
    if num_classes is not None and num_classes < 1:
        raise ConfigError(f"num_classes: got {num_classes!r}, expected 1 or more")
    stored, variant = None, get_variant(name)
    stated = {key: options.pop(key, None) for key in ("stride_in_1x1", "norm_eps")}
    if weights is None:
        options |= {key: value for key, value in stated.items() if value is not None}
    else:
        stored = weights if isinstance(weights, Stored) else read_weights(weights, name)
        options |= agree(facts(stated), stored.card, source=stored.source, variant=variant)
        num_classes = num_classes or class_count(stored.tensors)
    chosen = options_from(options, "create_classifier")
    net = Classifier(name, variant, num_classes=num_classes or IMAGENET, options=chosen)
    if stored is not None:
        load_weights(
            net,
            stored,
            allow_partial=allow_partial,
            allow_extra=allow_extra,
            class_layers=class_layers,
            class_names=class_names,
        )
    return net.to(memory_format=torch.channels_last)
