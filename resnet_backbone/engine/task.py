"""The interface between a run and its task, which combines model, data and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.structures import Batch, ImageBatch

C = TypeVar("C", bound=RunConfig)


@dataclass(frozen=True)
class Settled(Generic[C]):
    """A configuration that is complete.

    Attributes:
        cfg: The configuration, with the values that it left to the initial weights.
        weights: The initial weights, read once, for the task's constructor, which knows their type;
            None if there are none.
        warnings: Warnings about unwise settings; they are logged when the log is open.
    """

    cfg: C
    weights: Any = None
    warnings: tuple[str, ...] = ()


class Task(ABC, Generic[C]):
    """A model, the images to train it on, and the images to evaluate it on.

    In training mode the model maps a batch to a dictionary of 0-dim tensors. Those whose names
    start with "loss" are summed and minimised, the others are only reported.

    Args:
        cfg: The completed configuration, scaled to the batch size.
        device: The device of the model.
        weights: The initial weights that `settle` has read.

    Attributes:
        cfg: The configuration; replaced once when `solver.epochs` has become a number of steps.
        model: The model, on its device.
        class_names: The name of each class.
        label: What `label_counts` counts, in the plural.
        score: The metric that decides which weights are best.
        lower_is_better: Whether lower values of that metric are better.
    """

    cfg: C
    model: nn.Module
    class_names: tuple[str, ...]
    label: str = "labels"
    score: str
    lower_is_better: bool = False

    @classmethod
    def check_files(cls, cfg: C) -> None:
        """Raises DataError if images or annotations do not exist, before weights are downloaded."""

    @classmethod
    @abstractmethod
    def settle(cls, cfg: C) -> Settled[C]:
        """Returns `cfg` with the values that it leaves to the initial weights filled in."""

    @abstractmethod
    def __init__(self, cfg: C, device: torch.device, weights: Any = None) -> None: ...  # noqa: ANN401

    @property
    @abstractmethod
    def training_images(self) -> int:
        """The number of training images, that is, of one epoch."""

    def label_counts(self) -> dict[str, int]:
        """Returns how many labels of each class there are to train on; empty if not known."""
        return {}

    def draw_labels(self, file: Path) -> None:
        """Draws what there is to train on into a PNG file, if there is much to see."""

    @abstractmethod
    def training_batches(self, start_step: int) -> Iterator[Batch | ImageBatch]:
        """Yields this rank's micro-batches from `start_step` on, without end."""

    def draw_samples(self, batch: Batch | ImageBatch, count: int) -> list[Image.Image]:
        """Returns pictures of the first `count` samples of a training batch with their labels."""
        return []

    @abstractmethod
    def evaluate(self, should_stop: Callable[[], bool]) -> EvaluationResult:
        """Evaluates the model with its current weights; every rank must call it."""

    def draw_progress(self, folder: Path, name: str) -> None:
        """Draws what the model finds during the run into a folder `name` of the run's pictures."""

    def evaluated_on(self) -> str:
        """Returns what the validation images are called in results; empty if not known."""
        return ""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Returns JSON values that identify the dataset to a resumed run, with "class_names"."""

    @abstractmethod
    def card(self, result: EvaluationResult | None) -> dict[str, str]:
        """Returns the metadata stored with exported weights, from which the model can be rebuilt.

        Args:
            result: The evaluation of the weights, if there is one.
        """

    @abstractmethod
    def skipped(self) -> dict[str, list[str]]:
        """Returns, by split, a line for each sample left out; every rank must call it."""

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the weights to export, under the names that users load them by."""
        return self.model.state_dict()

    @abstractmethod
    def export(self, folder: Path, result: EvaluationResult | None) -> None:
        """Writes this task's additional results to `folder`; main rank only."""
