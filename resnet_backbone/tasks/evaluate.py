"""Evaluates trained weights on a validation split: `rb.evaluate`, and the command evaluate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.given import Overrides, as_arguments, given_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.errors import ConfigError
from resnet_backbone.tasks.classification.evaluate_files import evaluate_classifier_files
from resnet_backbone.tasks.detection.evaluate_file import evaluate_detector_file
from resnet_backbone.tasks.stored_config import config_inside
from resnet_backbone.tasks.training_result import TrainingResult
from resnet_backbone.utils import distributed
from resnet_backbone.utils import logging as log
from resnet_backbone.utils.device import pick_device
from resnet_backbone.utils.run_layout import weights_in

Weights = str | Path | TrainingResult


def evaluate(
    weights: Weights | Sequence[Weights],
    config: str | Path | RunConfig | None = None,
    overrides: Overrides = (),
    *,
    output: str | Path | None = None,
    **settings: Any,  # noqa: ANN401
) -> EvaluationResult:
    """Evaluates a detector, or a classifier, on the validation split of a dataset.

        found = rb.evaluate("output/mine", data={"root": "/data/coco"})
        found.bbox.AP, found.per_class["bbox"], found.to_dict()
        print(found)

    The folder then has results.json and, for detectors, pictures. Under torchrun every rank calls
    it.

    Args:
        weights: A weight file, the folder of a finished run, or what `rb.train` returns; several
            classifiers are evaluated as an ensemble.
        config: The name of a configuration, a YAML file, or a loaded one; None takes the one inside
            the (first) weights.
        overrides: Values to replace, as for `train`.
        output: The folder for results and pictures; None takes "evaluation", beside the weights or,
            with `config`, below its output.
        settings: Values to replace by their first key, as for `train`.

    Raises:
        ConfigError: there are errors in the configuration, or there is none.
        WeightsError: the weights do not fit the configuration or the images.
        DataError: the images or annotations cannot be used.
        StorageError: the output cannot be written.
        Interrupted: SIGINT or SIGTERM was received before there was a result; nothing is written.
        RankError: another rank has failed or is gone.
    """
    files = _files(weights)
    with log.shown(distributed.rank()):
        arguments = as_arguments(overrides, settings)
        cfg: RunConfig
        if config is None:
            cfg, beside = config_inside(files[0], arguments), weights_in(files[0]).parent
        else:
            cfg = given_config(config, arguments)
            beside = Path(cfg.output)
        folder = beside / "evaluation" if output is None else Path(output).expanduser()
        with distributed.joined(pick_device(cfg.device)):
            if isinstance(cfg, ClassificationConfig):
                return evaluate_classifier_files(cfg, files, folder)
            if isinstance(cfg, Config):
                return evaluate_detector_file(cfg, _only(files), folder)
    raise ConfigError(f"a {type(cfg).__name__} is neither a detector's nor a classifier's")


def _files(weights: Weights | Sequence[Weights]) -> list[Path]:
    if isinstance(weights, str | os.PathLike | TrainingResult):
        weights = [weights]
    files = [own.weights if isinstance(own, TrainingResult) else Path(own) for own in weights]
    if not files:
        raise ConfigError("weights: there are none to evaluate")
    return files


def _only(files: Sequence[Path]) -> Path:
    if len(files) > 1:
        raise ConfigError(
            f"weights: {len(files)} files, but detectors are evaluated one at a time; only several "
            "classifiers make an ensemble"
        )
    return files[0]
