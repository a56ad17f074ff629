"""What a finished run has left in its folder, as an object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_backbone.engine.scores import ByTask, Table, json_table, table_of_json
from resnet_backbone.errors import StorageError
from resnet_backbone.report.tables import metrics_table
from resnet_backbone.tasks.predictor import Predictor
from resnet_backbone.utils.run_layout import METRICS, RESULTS, WEIGHTS
from resnet_backbone.utils.text import count_of


@dataclass(frozen=True)
class BestEvaluation:
    """The best evaluation of a run.

    Attributes:
        metric: The metric that decides, such as "bbox/AP".
        value: Its best value; None if it was never defined.
        step: The step of that evaluation; None likewise.
        weights: The weights of that step.
    """

    metric: str
    value: float | None
    step: int | None
    weights: Path | None


@dataclass(frozen=True, repr=False)
class TrainingResult(ByTask):
    """A finished run: `result.bbox.AP`, `result.best.value`, `result.predictor()`.

    `rb.train` returns it, and `TrainingResult.read` makes it of the folder of an earlier run. The
    metrics of each task are attributes, as in `result.segm.AP50`.

    Attributes:
        output: The run's folder.
        weights: The file with the weights after the last step, averaged if the run averages them.
        step: The last step.
        metrics: {task: {metric: value}} of the last evaluation; NaN where there is no ground truth.
        best: The best evaluation.
        per_class: {task: {class name: AP}}, or {"top1_error": {class name: error}}, of the last
            evaluation; NaN for classes without instances.
        history: The lines of metrics.jsonl, each with "step": those of training have "loss" and
            "lr", those of evaluations the metrics, as in "bbox/AP"; None where undefined.
    """

    output: Path
    weights: Path
    step: int
    metrics: Table
    best: BestEvaluation
    per_class: Table
    history: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: str | Path) -> TrainingResult:
        """Returns the result of the finished run in a folder.

        Raises:
            StorageError: there is none, or a file of it cannot be read.
        """
        folder = Path(folder).expanduser()
        results = _json(folder / RESULTS)
        try:
            history = [json.loads(line) for line in _text(folder / METRICS).splitlines()]
            step = results["best"]["step"]
            best = BestEvaluation(**results["best"], weights=_best_weights(folder, step))
            return cls(
                output=folder,
                weights=folder / WEIGHTS,
                step=results["step"],
                metrics=table_of_json(results["metrics"]),
                best=best,
                per_class=table_of_json(results["per_class"]),
                history=history,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                f"{folder}: {RESULTS} or {METRICS} is not that of a run: {error!r}"
            ) from error

    def predictor(self, *, best: bool = False, **options: Any) -> Predictor:  # noqa: ANN401
        """Returns a predictor with the run's last weights.

        Args:
            best: Take the weights of the best evaluation instead.
            options: Further arguments of `Predictor`.

        Raises:
            WeightsError: the weights are gone, or cannot be read.
        """
        chosen = self.best.weights if best and self.best.weights else self.weights
        return Predictor(chosen, **options)

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as JSON types, without the history; undefined ones become None."""
        return {
            "output": str(self.output),
            "weights": str(self.weights),
            "step": self.step,
            "metrics": json_table(self.metrics),
            "best": {
                "metric": self.best.metric,
                "value": self.best.value,
                "step": self.best.step,
                "weights": None if self.best.weights is None else str(self.best.weights),
            },
            "per_class": json_table(self.per_class),
        }

    def __repr__(self) -> str:
        """Returns the table of metrics and the best evaluation, for people to read."""
        best = self.best
        lines = [f"{self.output}, {count_of(self.step, 'step')}", metrics_table(self.metrics)]
        if best.value is not None:
            lines.append(f"best: {best.metric} {best.value:.3f} at step {best.step:,}")
        return "\n".join(lines)


def _best_weights(folder: Path, step: int | None) -> Path | None:
    found = sorted(folder.glob(f"best/*/{WEIGHTS}"))
    return found[-1] if found and step is not None else None


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(_text(file))
    except ValueError as error:
        raise StorageError(f"{file}: not JSON: {error}") from error
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StorageError(f"{file.parent}: no finished run: there is no {file.name}") from None
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from error
