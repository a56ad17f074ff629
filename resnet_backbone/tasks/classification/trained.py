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
from resnet_backbone.utils.text import listing
from resnet_backbone.weights.stored import read_weights

CLASSIFIER = "fc.weight"
SHOWN = 30  # names of each list in the error

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


def in_classes_of_images(
    members: Sequence[TrainedClassifier], class_names: Sequence[str], sources: Sequence[Path]
) -> tuple[str, ...]:
    """Gives the classifiers' outputs the order of the images' classes, matched by name.

    A classifier may have further classes than the images; their outputs come last. A file that does
    not name its classes must have as many as the images, in the same order.

    Args:
        members: The classifiers, whose last layers are changed in place.
        class_names: The class names of the images.
        sources: The members' files, for messages.

    Returns:
        The name of each output, the same for all members.

    Raises:
        WeightsError: the images are of classes that a classifier does not have, or two classifiers
            have different classes; the message lists both.
    """
    wanted: tuple[str, ...] = tuple(class_names)
    named = [member.class_names for member in members if member.class_names is not None]
    if named:
        wanted += tuple(name for name in named[0] if name not in class_names)
    for member, source in zip(members, sources, strict=True):
        fc = member.model.network.fc
        if member.class_names is None and fc.out_features == len(wanted):
            continue
        known = member.class_names or [f"{fc.out_features} without names"]
        if sorted(known) != sorted(wanted):
            raise WeightsError(_mismatch(str(source), known, class_names, wanted))
        if tuple(known) != wanted:
            logger.info(
                "%s: its %d classes are matched by name with the %d of the images",
                *(source, len(known), len(class_names)),
            )
            rows = [list(known).index(name) for name in wanted]
            for parameter in fc.parameters():
                parameter.data = parameter.data[rows]
    return wanted


def _mismatch(
    source: str, known: Sequence[str], images: Sequence[str], wanted: Sequence[str]
) -> str:
    other = sorted(set(images) - set(known))
    problem = (
        f"does not have {len(other)} classes of the images: {listing(other, SHOWN)}"
        if other
        else "has other classes than the first member of the ensemble"
    )
    expected = images if other else wanted
    return (
        f"{source}: {problem}\n  {source}: {listing(known, SHOWN)}\n"
        f"  expected: {listing(expected, SHOWN)}"
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
