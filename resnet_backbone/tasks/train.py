"""Trains what a configuration describes: `rb.train`, and the commands train and pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.given import Overrides, as_arguments, given_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.engine.task import Task
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import ConfigError
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.tasks.detection.task import DetectionTask
from resnet_backbone.tasks.training_result import TrainingResult
from resnet_backbone.utils import distributed
from resnet_backbone.utils import logging as log


def train(
    config: str | Path | RunConfig,
    overrides: Overrides = (),
    *,
    task: type[Task[Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,  # noqa: ANN401
) -> TrainingResult:
    """Trains a detector or a classifier, evaluates it, and returns what came out.

        result = rb.train(
            "quickstart.yaml", solver={"epochs": 12}, output="output/mine", seed=0, overwrite=True
        )
        result.segm.AP, result.best.value, result.per_class["segm"]
        result.predictor()("street.jpg")

    Under torchrun every rank calls it. It may be called repeatedly, and outside of the main thread,
    where a signal does not stop it. The log goes to standard error, or to the handlers that the
    program has set up.

    Args:
        config: The name of a shipped configuration, a YAML file, or what `load_config` or
            `load_classification_config` returns.
        overrides: Values to replace: "key.path=value" texts, or a mapping of keys to values, such
            as {"solver.epochs": 12}.
        task: A task of your own; None takes that of the configuration.
        resume: Continue the run in the output folder; start it if there is none.
        overwrite: Discard the run in the output folder.
        settings: Values to replace, by their first key, such as `solver={"epochs": 12}`; they
            count where `overrides` has another value.

    Raises:
        ConfigError: the settings cannot work, or differ from those of the checkpoint to resume.
        DataError: the images or annotations cannot be used.
        WeightsError: the initial weights cannot be loaded.
        StorageError: the folder cannot be written, or holds another run.
        DivergedError: a loss or a gradient is not finite.
        Interrupted: SIGINT or SIGTERM was received; the state is saved.
        RankError: another rank has failed or is gone.
    """
    with log.shown(distributed.rank()):
        cfg = given_config(config, as_arguments(overrides, settings))
        chosen = task or _task_of(cfg)
        return TrainingResult.read(train_task(chosen, cfg, resume=resume, overwrite=overwrite))


def _task_of(cfg: RunConfig) -> type[Task[Any]]:
    if isinstance(cfg, Config):
        return DetectionTask
    if isinstance(cfg, ClassificationConfig):
        return ClassificationTask
    raise ConfigError(f"a {type(cfg).__name__} needs its task: rb.train(cfg, task=...)")
