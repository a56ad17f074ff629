"""What a run needs of its task: the place where model, data and evaluator meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.structures import Batch, ImageBatch

C = TypeVar("C", bound=RunConfig)


@dataclass(frozen=True)
class Settled(Generic[C]):
    """A configuration that leaves nothing open.

    Attributes:
        cfg: With everything decided that was left to the initial weights.
        weights: The initial weights, read once, for the task's constructor, which knows their type;
            None: there are none.
        warnings: What can be trained like this but hardly should be; logged when the log is open.
    """

    cfg: C
    weights: Any = None
    warnings: tuple[str, ...] = ()


class Task(ABC, Generic[C]):
    """A model, the images to train it on, and those to judge it by.

    The model maps a batch in training mode to a dictionary of 0-dim tensors: those called "loss..."
    are summed and minimised, others are only reported.

    Args:
        cfg: Settled, and scaled to the batch size.
        device: Where the model goes.
        weights: What `settle` has read.

    Attributes:
        model: On its device.
        class_names: By class index.
        score: The metric that decides which weights are best.
        lower_is_better: Of that metric.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    score: str
    lower_is_better: bool = False

    @classmethod
    @abstractmethod
    def settle(cls, cfg: C) -> Settled[C]:
        """Returns `cfg` with everything decided that it leaves to the weights it starts from."""

    @abstractmethod
    def __init__(self, cfg: C, device: torch.device, weights: Any = None) -> None: ...  # noqa: ANN401

    @abstractmethod
    def training_batches(self, start_step: int) -> Iterator[Batch | ImageBatch]:
        """Yields this rank's share of all batches from `start_step` on, without end."""

    @abstractmethod
    def evaluate(self, should_stop: Callable[[], bool]) -> EvaluationResult:
        """Judges the model as it is; every rank must call it."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Returns JSON values by which a resumed run knows its data, "class_names" among them."""

    @abstractmethod
    def card(self, result: EvaluationResult | None) -> dict[str, str]:
        """Returns what is stored with exported weights, from which the model can be rebuilt.

        Args:
            result: What the weights reach, where that is known.
        """

    @abstractmethod
    def skipped(self) -> dict[str, list[str]]:
        """Returns a line for everything that was left out of the data; every rank must call it."""

    def weights(self) -> Mapping[str, Tensor]:
        """Returns what is exported, by the names that users load it with."""
        return self.model.state_dict()

    @abstractmethod
    def export(self, folder: Path, result: EvaluationResult | None) -> None:
        """Writes what this task leaves beside weights and results; on the main rank."""
