"""ResNet backbones for detection. Each public name is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module that defines it. Lazy imports keep `import resnet_backbone` cheap and allow
# the backbone to be used where only torch is installed.
_PUBLIC = {
    "BACKBONES": "resnet_backbone.backbone.variants",
    "FeatureSpec": "resnet_backbone.backbone.spec",
    "ResNet": "resnet_backbone.backbone.resnet",
    "create_backbone": "resnet_backbone.create",
    "list_backbones": "resnet_backbone.backbone.variants",
    "create_classifier": "resnet_backbone.classification.create",
    "load_weights": "resnet_backbone.weights.load",
    "save_weights": "resnet_backbone.weights.files",
    "read_card": "resnet_backbone.weights.stored",
    "WeightsCard": "resnet_backbone.weights.card",
    "load_config": "resnet_backbone.config.load",
    "load_classification_config": "resnet_backbone.config.load",
    "build_detector": "resnet_backbone.detection.build",
    "train": "resnet_backbone.tasks.train",
    "evaluate": "resnet_backbone.tasks.evaluate",
    "TrainingResult": "resnet_backbone.tasks.training_result",
    "EvaluationResult": "resnet_backbone.engine.evaluation",
    "Task": "resnet_backbone.engine.task",
    "DetectionTask": "resnet_backbone.tasks.detection.task",
    "ClassificationTask": "resnet_backbone.tasks.classification.task",
    "Prediction": "resnet_backbone.tasks.detection.prediction",
    "Predictor": "resnet_backbone.tasks.predictor",
    "Classification": "resnet_backbone.tasks.classification.classification",
    "Batch": "resnet_backbone.structures",
    "Detections": "resnet_backbone.structures",
    "Sample": "resnet_backbone.structures",
    "Targets": "resnet_backbone.structures",
    "ConfigError": "resnet_backbone.errors",
    "DataError": "resnet_backbone.errors",
    "DivergedError": "resnet_backbone.errors",
    "StorageError": "resnet_backbone.errors",
    "WeightsError": "resnet_backbone.errors",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
