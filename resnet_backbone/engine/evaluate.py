"""Runs a detector over a split and judges it."""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.errors import Interrupted
from resnet_backbone.evaluation import Evaluator
from resnet_backbone.report.tables import metrics_table, per_class_table
from resnet_backbone.structures import Batch
from resnet_backbone.utils import distributed

LOG_LINES = 10

B = TypeVar("B", covariant=True)

logger = logging.getLogger(__name__)


class Loader(Protocol[B]):
    """A finite, sized source of batches."""

    def __iter__(self) -> Iterator[B]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found, over all ranks; as text it is the tables that people read.

    Attributes:
        metrics: {task: {metric: value}}; NaN where there is no ground truth for it.
        loss: Mean per image of each loss and of their sum, "loss"; None if not asked for.
        explanation: Why an AP is zero or undefined; None otherwise.
        per_class: AP by task and class name; NaN where a class has no instance.
    """

    metrics: dict[str, dict[str, float]]
    loss: dict[str, float] | None = None
    explanation: str | None = None
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [per_class_table(self.per_class), metrics_table(self.metrics)]
        if self.loss:
            parts.append("  ".join(f"{name} {value:.4f}" for name, value in self.loss.items()))
        if self.explanation:
            parts.append(self.explanation)
        return "\n\n".join(parts)

    def flat(self) -> dict[str, float | None]:
        """Returns one line of metrics: "bbox/AP", ..., "val_loss", "val_loss_cls", ...

        Undefined values are None, as JSON has no NaN.
        """
        line = {
            f"{task}/{name}": v for task, row in self.metrics.items() for name, v in row.items()
        }
        line |= {f"val_{name}": value for name, value in (self.loss or {}).items()}
        return {name: _json_number(value) for name, value in line.items()}

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain JSON values, undefined numbers as None."""
        return {
            "metrics": _json_table(self.metrics),
            "per_class": _json_table(self.per_class),
            "loss": self.loss and {key: _json_number(value) for key, value in self.loss.items()},
            "explanation": self.explanation,
        }


def evaluate(
    model: RCNN,
    loader: Loader[Batch],
    evaluator: Evaluator,
    device: torch.device,
    *,
    with_loss: bool,
    should_stop: Callable[[], bool],
) -> EvaluationResult:
    """Judges `model` on the images of `loader`, this rank's share; every rank must call it.

    The model is left in the mode it came in.

    Args:
        model: On `device`, not wrapped by DDP.
        loader: Batches with targets if `with_loss`. Ranks may have different numbers of them.
        evaluator: Reset here.
        device: Where batches go.
        with_loss: Also compute the losses, on the same batches.
        should_stop: Asked before every batch, equally often on all ranks, so it may communicate;
            must answer alike on all of them.

    Raises:
        Interrupted: `should_stop` said so; nothing is judged then.
    """
    was_training = model.training
    model.eval()
    evaluator.reset()
    tally, first = _Tally(), None
    try:
        with torch.inference_mode():
            for batch in checked_batches(loader, should_stop):
                first = first or batch
                moved = batch.to(device)
                detections = model.detect(moved)
                evaluator.process(detections)
                losses = model.losses(moved) if with_loss else {}
                tally.add(len(batch.image_ids), sum(map(len, detections)), losses)
            metrics, total = evaluator.evaluate(), tally.over_ranks()
            explanation = evaluator.explanation
            if explanation and not total.predictions:
                explanation += " " + _describe_scores(model, first, device)
    finally:
        model.train(was_training)
    loss = total.mean_loss() if with_loss else None
    return EvaluationResult(metrics, loss, explanation, evaluator.per_class)


@dataclass
class _Tally:
    """What the batches of one or all ranks sum up to.

    Attributes:
        images: How many.
        predictions: How many.
        losses: Sum over images of each loss.
    """

    images: int = 0
    predictions: int = 0
    losses: Counter[str] = field(default_factory=Counter)

    def add(self, images: int, predictions: int, losses: Mapping[str, Tensor]) -> None:
        """Adds a batch; `losses` are means over its images."""
        self.images += images
        self.predictions += predictions
        if losses:
            # One question to the device instead of one per loss.
            values = torch.stack(list(losses.values())).tolist()
            for name, value in zip(losses, values, strict=True):
                self.losses[name] += value * images

    def over_ranks(self) -> _Tally:
        """Returns the sum of all ranks' tallies."""
        total = _Tally()
        for share in distributed.all_gather_object(self):
            total.images += share.images
            total.predictions += share.predictions
            total.losses.update(share.losses)
        return total

    def mean_loss(self) -> dict[str, float]:
        """Returns each loss per image, and their sum as "loss"."""
        means = {name: value / self.images for name, value in self.losses.items()}
        return {"loss": sum(means.values())} | means


def checked_batches(loader: Loader[B], should_stop: Callable[[], bool]) -> Iterator[B]:
    """Yields this rank's batches, asking `should_stop` as often as the rank with the most does.

    Raises:
        Interrupted: `should_stop` said so.
    """
    rounds = max(distributed.all_gather_object(len(loader)))
    iterator = iter(loader)
    for done in _progress(rounds):
        if should_stop():
            raise Interrupted(f"evaluation stopped by a signal after {done} of {rounds} batches")
        batch = next(iterator, None)
        if batch is not None:
            yield batch


def _progress(rounds: int) -> Iterator[int]:
    """Counts to `rounds`: a bar on a terminal, else about ten lines in the log."""
    if distributed.is_main() and sys.stderr.isatty():
        yield from tqdm(range(rounds), desc="evaluating", unit="batch", leave=False)
        return
    every = math.ceil(rounds / LOG_LINES)
    for done in range(rounds):
        yield done
        if (done + 1) % every == 0 or done + 1 == rounds:
            logger.info("evaluated %d of %d batches", done + 1, rounds)


def _describe_scores(model: RCNN, batch: Batch | None, device: torch.device) -> str:
    """Says how far the best score of each rank's first batch is from the threshold."""
    best = max(distributed.all_gather_object(_highest_score(model, batch, device)))
    threshold = model.roi_heads.settings.score_threshold
    return f"The highest score in the first images is {best:.2g}; the threshold is {threshold:g}."


def _highest_score(model: RCNN, batch: Batch | None, device: torch.device) -> float:
    """The best score in a batch, whatever the threshold; 0 where there is none."""
    if batch is None:
        return 0.0
    settings = model.roi_heads.settings
    model.roi_heads.settings = replace(settings, score_threshold=0.0)
    try:
        found = model.detect(batch.to(device))
    finally:
        model.roi_heads.settings = settings
    return max((float(image.scores.max()) for image in found if len(image)), default=0.0)


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json_table(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        row: {name: _json_number(value) for name, value in columns.items()}
        for row, columns in table.items()
    }
