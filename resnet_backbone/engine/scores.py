"""Metrics as attributes, `result.bbox.AP50`, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

Table = dict[str, dict[str, float]]
JsonTable = dict[str, dict[str, float | None]]


class TaskScores(dict[str, float]):
    """The metrics of one task by name, each also an attribute: `scores["AP50"]`, `scores.AP50`."""

    def __getattr__(self, name: str) -> float:
        if name in self:
            return self[name]
        raise AttributeError(f"no metric {name}; there are {', '.join(self)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]


class ByTask:
    """Gives the rows of `metrics`, {task: {metric: value}}, as attributes named after the tasks.

    They are `bbox` and `segm` for detectors, `classification` for classifiers.
    """

    metrics: Mapping[str, Mapping[str, float]]

    def __getattr__(self, task: str) -> TaskScores:
        metrics = self.__dict__.get("metrics", {})  # not yet there while an object is unpickled
        if task in metrics:
            return TaskScores(metrics[task])
        raise AttributeError(
            f"{type(self).__name__} has no attribute {task}; there are metrics of "
            f"{', '.join(metrics)}"
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.metrics]


def json_number(value: float) -> float | None:
    """Returns a number for JSON, which has no NaN: None stands for what is undefined."""
    return value if math.isfinite(value) else None


def json_table(table: Mapping[str, Mapping[str, float]]) -> JsonTable:
    """Returns {row: {name: value}} with `json_number` of each value."""
    return {
        row: {name: json_number(value) for name, value in columns.items()}
        for row, columns in table.items()
    }


def table_of_json(content: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Returns the table that `json_table` has written."""
    return {
        row: {name: math.nan if value is None else value for name, value in columns.items()}
        for row, columns in content.items()
    }
