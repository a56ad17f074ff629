"""What differs between the tasks before their runs are alike."""

from __future__ import annotations

import logging
from typing import TypeAlias

import torch

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.detection.contract import settle as settle_detector
from resnet_backbone.detection.contract import warn_about_recipe
from resnet_backbone.engine.task import Task
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.tasks.detection.task import DetectionTask

AnyConfig: TypeAlias = Config | ClassificationConfig

logger = logging.getLogger(__name__)


def settle(cfg: AnyConfig) -> AnyConfig:
    """Returns `cfg` with everything decided that it leaves to the weights it starts from."""
    return settle_detector(cfg) if isinstance(cfg, Config) else cfg


def warn(cfg: AnyConfig) -> None:
    """Says what can be trained but hardly should be."""
    if not isinstance(cfg, Config):
        return
    warn_about_recipe(cfg)
    backbone = cfg.model.backbone
    drawn = backbone.weights is None and cfg.model.weights is None
    if drawn and (backbone.norm == "FrozenBN" or backbone.freeze_at > 0):
        logger.warning(
            "model.backbone.weights is not set, but norm is %s and freeze_at is %d: parts of the "
            "backbone stay as they were drawn at random",
            *(backbone.norm, backbone.freeze_at),
        )


def make_task(cfg: AnyConfig, device: torch.device) -> Task:
    """Returns the task of a run; see `DetectionTask` and `ClassificationTask` for the errors."""
    if isinstance(cfg, Config):
        return DetectionTask(cfg, device)
    return ClassificationTask(cfg, device)
