"""Loads a trained classifier from a weight file, and checks that it is the one that was trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from resnet_backbone.classification.build import build_image_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.errors import WeightsError
from resnet_backbone.tasks.classification.task import MEAN_IMAGE
from resnet_backbone.utils.run_layout import weights_in
from resnet_backbone.utils.text import count_of, listing
from resnet_backbone.weights.files import read_metadata
from resnet_backbone.weights.metadata import class_names_in, config_in
from resnet_backbone.weights.stored import Stored, read_weights

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
    path = weights_in(weights)
    stored = read_weights(path, cfg.model.name)
    outputs = _output_count(stored)
    own = config_in(ClassificationConfig, stored.text, str(path))
    asked = cfg.model if own is None else own.model
    asked = asked.model_copy(update={"num_classes": None, "class_layers": "copy"})
    mean_image = stored.ignored.get(MEAN_IMAGE)
    names = class_names_in(stored.text, str(path))
    if names is not None and len(names) != outputs:
        raise WeightsError(f"{weights}: has {outputs} classes, but {len(names)} class names")
    model = build_image_classifier(asked, outputs, mean_image=mean_image, weights=stored)
    return TrainedClassifier(model.to(device).eval(), names)


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
                "%s: its %s, matched by name with the %d of the images",
                *(source, count_of(len(known), "class", "classes"), len(class_names)),
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
        f"does not have {count_of(len(other), 'class', 'classes')} of the images: "
        f"{listing(other, SHOWN)}"
        if other
        else "has other classes than the first member of the ensemble"
    )
    expected = images if other else wanted
    return (
        f"{source}: {problem}\n  {source}: {listing(known, SHOWN)}\n"
        f"  expected: {listing(expected, SHOWN)}"
    )


def stored_classifier_config(weights: str | Path) -> ClassificationConfig | None:
    """Returns the configuration inside a weight file, or None if there is none.

    Raises:
        WeightsError: the file cannot be read, or its configuration is not a classifier's.
    """
    path = weights_in(weights)
    if path.suffix != ".safetensors":
        return None
    return config_in(ClassificationConfig, read_metadata(path), str(path))


def _output_count(stored: Stored) -> int:
    """Returns the number of rows of the last layer, one for each class."""
    classifier = stored.tensors.get(CLASSIFIER)
    if classifier is None or classifier.dim() != 2 or len(classifier) < 1:
        found = "no such tensor" if classifier is None else f"shape {list(classifier.shape)}"
        raise WeightsError(
            f"{stored.source}: not a classifier: expected {CLASSIFIER} with a row for each class,"
            f" found {found}"
        )
    return len(classifier)
