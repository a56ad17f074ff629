"""The configuration inside a weight file, of either task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.load import override_config
from resnet_backbone.config.schema import Config
from resnet_backbone.errors import ConfigError
from resnet_backbone.tasks.classification.trained import stored_classifier_config
from resnet_backbone.tasks.detection.trained import stored_config
from resnet_backbone.utils.run_layout import weights_in
from resnet_backbone.weights.files import read_metadata
from resnet_backbone.weights.metadata import task_in


def is_classifier(weights: str | Path) -> bool:
    """Returns whether a weight file, or a finished run, says that it is for a classifier.

    Raises:
        WeightsError: the file cannot be read.
    """
    path = weights_in(weights)
    text = read_metadata(path) if path.suffix == ".safetensors" else {}
    return task_in(text, str(path)) == ClassificationConfig.model_fields["task"].default


def config_inside(weights: str | Path, overrides: Sequence[str]) -> Config | ClassificationConfig:
    """Returns the configuration of the run that wrote a weight file.

    Args:
        weights: The file, or the folder of a finished run.
        overrides: "key.path=value" arguments, which replace its values.

    Raises:
        ConfigError: the file has no configuration, or there are errors in the overrides.
        WeightsError: the file cannot be read.
    """
    path = weights_in(weights)
    if is_classifier(path):
        classifier = stored_classifier_config(path)
        if classifier is not None:
            return override_config(classifier, overrides, f"inside {path}")
    detector = stored_config(path)
    if detector is not None:
        return override_config(detector, overrides, f"inside {path}")
    raise ConfigError(f"{path}: contains no configuration; give that of its training by --config")
