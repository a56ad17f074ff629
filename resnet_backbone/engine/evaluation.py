"""What evaluations of all tasks have in common: the loop over batches, and the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from resnet_backbone.engine.scores import ByTask, json_number, json_table
from resnet_backbone.errors import Interrupted
from resnet_backbone.report.tables import errors_table, metrics_table, per_class_table
from resnet_backbone.utils import distributed
from resnet_backbone.utils.progress import track
from resnet_backbone.utils.text import count_of

B = TypeVar("B", covariant=True)


class Loader(Protocol[B]):
    """An iterable of batches with a known number of them."""

    def __iter__(self) -> Iterator[B]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class EvaluationResult(ByTask):
    """The result of an evaluation over all ranks; `str` gives tables for people to read.

    The metrics of each task are attributes too: `result.bbox.AP50`, `result.segm.AP`,
    `result.classification.top1_error`.

    Attributes:
        metrics: {task: {metric: value}}; NaN where there is no ground truth.
        loss: Mean per image of each loss, and of their sum as "loss"; None if not computed.
        explanation: Why an AP is zero or undefined; None otherwise.
        per_class: AP by task and class name; NaN for classes without instances.
        errors: {task: {kind: {"count": their number, other names: their cost}}}; empty for tasks
            without an error breakdown.
        details: On the main rank, what the task draws figures from; None if it draws none.
        images: How many images were evaluated, over all ranks.
        seconds: How long that took, reading the images included.
        output: The folder with results.json and pictures; None during training.
    """

    metrics: dict[str, dict[str, float]]
    loss: dict[str, float] | None = None
    explanation: str | None = None
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    details: Any = field(default=None, compare=False, repr=False)
    images: int = 0
    seconds: float = field(default=0.0, compare=False)
    output: Path | None = field(default=None, compare=False)

    def __str__(self) -> str:
        parts = [per_class_table(self.per_class)]
        if self.errors:
            parts.append(errors_table(self.errors))
        parts.append(metrics_table(self.metrics))
        if self.loss:
            parts.append("  ".join(f"{name} {value:.4f}" for name, value in self.loss.items()))
        if self.explanation:
            parts.append(self.explanation)
        return "\n\n".join(filter(None, parts))  # without annotations, tables are empty

    def flat(self) -> dict[str, float | None]:
        """Returns one line of metrics: "bbox/AP", ..., "val_loss", "val_loss_cls", ...

        Undefined values are None, since JSON has no NaN.
        """
        line = {
            f"{task}/{name}": v for task, row in self.metrics.items() for name, v in row.items()
        }
        line |= {f"val_{name}": value for name, value in (self.loss or {}).items()}
        return {name: json_number(value) for name, value in line.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns all values as JSON types; undefined numbers become None."""
        content: dict[str, Any] = {
            "metrics": json_table(self.metrics),
            "per_class": json_table(self.per_class),
            "loss": self.loss and {key: json_number(value) for key, value in self.loss.items()},
            "explanation": self.explanation,
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images / self.seconds, 3) if self.seconds else None,
        }
        if self.errors:
            content["errors"] = {task: json_table(kinds) for task, kinds in self.errors.items()}
        return content


def checked_batches(loader: Loader[B], should_stop: Callable[[], bool]) -> Iterator[B]:
    """Yields this rank's batches; calls `should_stop` equally often on all ranks.

    Raises:
        Interrupted: `should_stop` returned true.
    """
    rounds = range(max(distributed.all_gather_object(len(loader))))
    iterator, words = iter(loader), ("evaluating", "evaluated", "batch", "batches")
    for done in track(rounds, *words, bar=distributed.is_main()):
        if should_stop():
            total = count_of(len(rounds), "batch", "batches")
            raise Interrupted(f"evaluation stopped by a signal after {done} of {total}")
        batch = next(iterator, None)
        if batch is not None:
            yield batch
