"""The configuration inside a weight file, of either task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.load import load_any_config, override_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.errors import ConfigError
from resnet_backbone.tasks.classification.trained import stored_classifier_config
from resnet_backbone.tasks.detection.trained import stored_config
from resnet_backbone.utils.run_layout import weights_in
from resnet_backbone.weights.files import read_metadata
from resnet_backbone.weights.metadata import task_in


def is_classifier(weights: str | Path, cfg: RunConfig | None = None) -> bool:
    """Returns whether a configuration, or without one a weight file, is for a classifier.

    Args:
        weights: The file, or the folder of a finished run; if it does not say, it is a detector's.
        cfg: The configuration.

    Raises:
        WeightsError: the file cannot be read.
    """
    if cfg is not None:
        return isinstance(cfg, ClassificationConfig)
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


def config_to_predict_with(
    weights: str | Path, name: str | None, overrides: Sequence[str]
) -> Config | ClassificationConfig | None:
    """Returns a configuration for weights; None stands for the one inside them.

    Args:
        weights: A weight file, or the folder of a finished run.
        name: A configuration for `load_any_config`; None takes the one inside the weights.
        overrides: "key.path=value" arguments.

    Raises:
        ConfigError: there are errors in the configuration or the overrides, or no configuration.
        WeightsError: the weights cannot be read.
    """
    if name is not None:
        return load_any_config(name, overrides)
    return config_inside(weights, overrides) if overrides else None
