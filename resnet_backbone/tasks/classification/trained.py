"""From a weight file to a classifier that is sure to be the one that was trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from resnet_backbone.classification.build import build_image_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.config.classification_schema import ClassificationConfig, ClassifierConfig
from resnet_backbone.errors import WeightsError
from resnet_backbone.tasks.classification.task import MEAN_IMAGE
from resnet_backbone.weights.stored import read_weights

CLASSIFIER = "fc.weight"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with its weights.

    Attributes:
        model: In evaluation mode.
        class_names: By label; None where the file does not name them.
    """

    model: ImageClassifier
    class_names: tuple[str, ...] | None


def load_trained_classifier(
    weights: str | Path, cfg: ClassificationConfig, *, device: torch.device | str = "cpu"
) -> TrainedClassifier:
    """Builds a classifier and fills it from a file that training, ours or another's, wrote.

    Args:
        weights: What `load_weights` takes. A file of ours says which network it is of and what it
            does to pixels; of others `cfg.model` does.
        cfg: The run's configuration.
        device: Where the model goes.

    Raises:
        ConfigError: the configuration contradicts the weights' card.
        WeightsError: the file cannot be read, is no classifier's or of another network.
    """
    path = Path(weights)
    stored = read_weights(weights, cfg.model.name)
    if CLASSIFIER not in stored.tensors:
        raise WeightsError(f"{weights}: holds no classifier; expected a tensor {CLASSIFIER!r}")
    outputs = len(stored.tensors[CLASSIFIER])
    asked = (_own_model(stored.text, path) or cfg.model).model_copy(update={"num_classes": None})
    mean_image = stored.ignored.get(MEAN_IMAGE)
    model = build_image_classifier(asked, outputs, mean_image=mean_image, weights=stored)
    return TrainedClassifier(model.to(device).eval(), _class_names(stored.text, path))


def check_labels(
    members: Sequence[TrainedClassifier], class_names: Sequence[str], sources: Sequence[Path]
) -> None:
    """Refuses to judge classifiers by labels of other classes.

    Args:
        members: The classifiers.
        class_names: Of the images.
        sources: The members' files, for messages.

    Raises:
        WeightsError: another number of classes, or another class at some place; names both.
    """
    for member, source in zip(members, sources, strict=True):
        outputs = member.model.network.fc.out_features
        known = member.class_names
        if outputs != len(class_names):
            raise WeightsError(
                f"{source} knows {outputs} classes, but the images are of {len(class_names)}"
            )
        if known is not None and known != tuple(class_names):
            pairs = zip(known, class_names, strict=True)
            label, (own, other) = next(
                (label, pair) for label, pair in enumerate(pairs) if pair[0] != pair[1]
            )
            raise WeightsError(
                f"{source}: class {label} is {own!r} there, but {other!r} among the images"
            )


def _own_model(metadata: Mapping[str, str], path: Path) -> ClassifierConfig | None:
    """The network that a file of ours says it is of."""
    if "config" not in metadata:
        return None
    try:
        return ClassificationConfig.model_validate_json(metadata["config"]).model
    except ValidationError as error:
        raise WeightsError(f"{path}: its configuration is no classifier's: {error}") from error


def _class_names(metadata: Mapping[str, str], path: Path) -> tuple[str, ...] | None:
    if "class_names" not in metadata:
        return None
    try:
        return tuple(map(str, json.loads(metadata["class_names"])))
    except (json.JSONDecodeError, TypeError) as error:
        raise WeightsError(f"{path}: class_names cannot be read: {error}") from error
