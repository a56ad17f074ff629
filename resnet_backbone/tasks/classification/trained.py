"""Loads a trained classifier from a weight file, and checks that it is the one that was trained."""

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
        model: The classifier, in evaluation mode.
        class_names: The name of each class; None if the file does not name them.
    """

    model: ImageClassifier
    class_names: tuple[str, ...] | None


def load_trained_classifier(
    weights: str | Path, cfg: ClassificationConfig, *, device: torch.device | str = "cpu"
) -> TrainedClassifier:
    """Builds a classifier and loads its weights, from a file of this or another framework.

    Args:
        weights: Anything `load_weights` takes. Our own files contain the network's name and the
            normalisation of pixels; for other files they come from `cfg.model`.
        cfg: The run's configuration.
        device: The device of the model.

    Raises:
        ConfigError: the configuration contradicts the weights' card.
        WeightsError: the file cannot be read, or is not for a classifier or for this network.
    """
    path = Path(weights)
    stored = read_weights(weights, cfg.model.name)
    if CLASSIFIER not in stored.tensors:
        raise WeightsError(f"{weights}: not a classifier: it has no tensor {CLASSIFIER!r}")
    outputs = len(stored.tensors[CLASSIFIER])
    asked = (_own_model(stored.text, path) or cfg.model).model_copy(update={"num_classes": None})
    mean_image = stored.ignored.get(MEAN_IMAGE)
    model = build_image_classifier(asked, outputs, mean_image=mean_image, weights=stored)
    return TrainedClassifier(model.to(device).eval(), _class_names(stored.text, path))


def check_labels(
    members: Sequence[TrainedClassifier], class_names: Sequence[str], sources: Sequence[Path]
) -> None:
    """Checks that the classifiers and the images have the same classes.

    Args:
        members: The classifiers.
        class_names: The class names of the images.
        sources: The members' files, for messages.

    Raises:
        WeightsError: the number of classes differs, or a class has another name.
    """
    for member, source in zip(members, sources, strict=True):
        outputs = member.model.network.fc.out_features
        known = member.class_names
        if outputs != len(class_names):
            raise WeightsError(
                f"{source} has {outputs} classes, but the images have {len(class_names)}"
            )
        if known is not None and known != tuple(class_names):
            pairs = zip(known, class_names, strict=True)
            label, (own, other) = next(
                (label, pair) for label, pair in enumerate(pairs) if pair[0] != pair[1]
            )
            raise WeightsError(
                f"{source}: class {label} is {own!r}, but {other!r} among the images"
            )


def _own_model(metadata: Mapping[str, str], path: Path) -> ClassifierConfig | None:
    """Returns the network's configuration that one of our own files contains, otherwise None."""
    if "config" not in metadata:
        return None
    try:
        return ClassificationConfig.model_validate_json(metadata["config"]).model
    except ValidationError as error:
        raise WeightsError(f"{path}: its configuration is not a classifier's: {error}") from error


def _class_names(metadata: Mapping[str, str], path: Path) -> tuple[str, ...] | None:
    if "class_names" not in metadata:
        return None
    try:
        return tuple(map(str, json.loads(metadata["class_names"])))
    except (json.JSONDecodeError, TypeError) as error:
        raise WeightsError(f"{path}: cannot read class_names: {error}") from error
