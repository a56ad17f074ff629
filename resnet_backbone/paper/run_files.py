"""What a finished run has left in its folder, as far as it is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from resnet_backbone.config.strict_yaml import read_file
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.paper.record_schema import Best, Error, Test, defects, read_checked

WEIGHTS = "model.safetensors"


class DataSection(BaseModel):
    """See `ImageDataConfig`."""

    root: str
    format: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    hold_out: int


class ModelSection(BaseModel):
    """See `ClassifierConfig`."""

    name: str


class SolverSection(BaseModel):
    """See `SolverConfig`."""

    schedule: str
    max_iter: int
    milestones: tuple[int, ...]
    lr: float
    batch_size: int


class RunConfig(BaseModel):
    """Of a run's config.yaml, whose schedule is already scaled, what is recorded."""

    task: Literal["classification"]
    name: str
    seed: int
    device: str
    data: DataSection
    model: ModelSection
    solver: SolverSection


class Environment(BaseModel):
    """Of a run's environment.json."""

    command: list[str]
    ranks: int
    gpu: str | None
    packages: dict[str, str]


class Errors(BaseModel):
    """Fractions of the test images; other metrics are left out."""

    top1_error: Error
    top5_error: Error | None = None


class Metrics(BaseModel):
    """By task."""

    classification: Errors


class Results(BaseModel):
    """Of a run's results.json."""

    metrics: Metrics
    step: int
    best: Best | None = None


class Evaluation(BaseModel):
    """Of the results.json that tools/evaluate.py leaves."""

    testing: str
    weights: list[str]
    metrics: Metrics


def errors_of(metrics: Metrics) -> Test:
    """Returns what is recorded of an evaluation."""
    return Test(**metrics.classification.model_dump())


def more_tests(folder: Path) -> dict[str, Test]:
    """Returns how else the weights of the last step were tested; ensembles are no test of them.

    Args:
        folder: The run's; tools/evaluate.py writes into folders in it.

    Raises:
        StorageError: a results.json there is none of a classifier's.
    """
    tests = {}
    for file in sorted(folder.glob("*/results.json")):
        found = read_checked(Evaluation, file)
        own = Path(folder.resolve().name) / WEIGHTS
        if [Path(*Path(path).parts[-2:]) for path in found.weights] == [own]:
            tests[found.testing] = errors_of(found.metrics)
    tests.pop("single", None)
    return tests


def read_config(file: Path) -> RunConfig:
    """Returns what a run was configured to do.

    Raises:
        ConfigError: the file cannot be read, or is of another task.
        StorageError: it lacks what is recorded; names file and key.
    """
    tree, _ = read_file(file)
    task = tree.get("task", "detection")
    if task != "classification":
        raise ConfigError(f"{file}: task is {task}, expected classification, the only one recorded")
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise StorageError(f"{file}: {defects(error)}") from None
