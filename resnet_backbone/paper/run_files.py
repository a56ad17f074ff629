"""The files that a finished run leaves in its folder, as far as they are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.config.strict_yaml import read_file
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.paper.record_schema import Best, Error, Test, defects, read_checked
from resnet_backbone.utils.run_layout import RESULTS, WEIGHTS

# The paper's values of configuration keys (sections 3.4 and 4.2): for both data sets, and for each.
PAPERS: dict[str, tuple[Any, ...]] = {
    "data.mixup": (0,),
    "data.cutmix": (0,),
    "data.auto_augment": (None,),
    "data.random_erase": (0,),
    "data.repeats": (1,),
    "data.progressive": ([],),
    "data.flip": (0.5,),
    "model.weights": (None,),
    "model.norm": ("BN", "SyncBN"),
    "model.loss": ("ce",),
    "model.label_smoothing": (0,),
    "model.stochastic_depth": (0,),
    "model.zero_init_residual": (False,),
    "solver.optimizer": ("sgd",),
    "solver.momentum": (0.9,),
    "solver.weight_decay": (1e-4,),
    "solver.weight_decay_norm": (1e-4,),
    "solver.weight_decay_bias": (None, 1e-4),
    "solver.nesterov": (False,),
    "solver.clip_grad_norm": (None,),
    "solver.ema_decay": (None,),
}
IMAGENET: dict[str, tuple[Any, ...]] = {
    "data.crop": ("scale_jitter",),
    "data.size": (224,),
    "data.short_side": ([256, 480],),
    "data.pca_color": (0.1,),
    "model.stride_in_1x1": (True,),
}
CIFAR: dict[str, tuple[Any, ...]] = {"data.padding": (4,)}


class DataSection(BaseModel):
    """The recorded part of `ImageDataConfig`."""

    root: str
    format: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    hold_out: int


class ModelSection(BaseModel):
    """The recorded part of `ClassifierConfig`."""

    name: str


class SolverSection(BaseModel):
    """The recorded part of `SolverConfig`."""

    schedule: str
    max_iter: int
    milestones: tuple[int, ...]
    lr: float
    batch_size: int


class RecordedConfig(BaseModel):
    """The recorded part of a run's config.yaml, whose schedule is already scaled."""

    task: Literal["classification"]
    name: str
    seed: int
    device: str
    data: DataSection
    model: ModelSection
    solver: SolverSection
    extras: tuple[str, ...]


class Environment(BaseModel):
    """The recorded part of a run's environment.json."""

    command: list[str]
    ranks: int
    gpu: str | None
    packages: dict[str, str]


class Errors(BaseModel):
    """Errors as fractions of the test images; other metrics are not recorded."""

    top1_error: Error
    top5_error: Error | None = None


class Metrics(BaseModel):
    """Metrics by task."""

    classification: Errors


class Results(BaseModel):
    """The recorded part of a run's results.json."""

    metrics: Metrics
    step: int
    best: Best | None = None


class Evaluation(BaseModel):
    """The recorded part of a results.json that tools/evaluate.py wrote."""

    testing: str
    weights: list[str]
    metrics: Metrics


def errors_of(metrics: Metrics) -> Test:
    """Returns the recorded errors of an evaluation."""
    return Test(**metrics.classification.model_dump())


def more_tests(folder: Path) -> dict[str, Test]:
    """Returns evaluations of the final weights with other test methods; ensembles do not count.

    Args:
        folder: The run's folder; tools/evaluate.py writes into its subfolders.

    Raises:
        StorageError: a results.json there is not from a classifier's evaluation.
    """
    tests = {}
    for file in sorted(folder.glob(f"*/{RESULTS}")):
        found = read_checked(Evaluation, file)
        own = Path(folder.resolve().name) / WEIGHTS
        if [Path(*Path(path).parts[-2:]) for path in found.weights] == [own]:
            tests[found.testing] = errors_of(found.metrics)
    tests.pop("single", None)
    return tests


def read_config(file: Path) -> RecordedConfig:
    """Reads a run's configuration.

    Raises:
        ConfigError: the file cannot be read, or is for another task.
        StorageError: a recorded key is missing or invalid; the message names file and key.
    """
    tree, _ = read_file(file)
    task = tree.get("task", "detection")
    if task != "classification":
        raise ConfigError(f"{file}: task is {task}; only runs of task classification are recorded")
    try:
        config = RecordedConfig.model_validate(tree | {"extras": ()})
    except ValidationError as error:
        raise StorageError(f"{file}: {defects(error)}") from None
    return config.model_copy(update={"extras": _extras(tree)})


def _extras(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the settings that differ from the paper's recipe, with their values."""
    expected = PAPERS | (CIFAR if tree["data"].get("crop") == "pad" else IMAGENET)
    if not get_variant(tree["model"]["name"]).has_bottlenecks:
        expected.pop("model.stride_in_1x1", None)
    found = []
    for key, papers in expected.items():
        section, _, name = key.partition(".")
        value = tree[section].get(name, papers[0])
        if value not in papers:
            # The path of a weight file is specific to the machine, so it is not recorded.
            found.append(key if key == "model.weights" else f"{key} {value}")
    return tuple(found)
