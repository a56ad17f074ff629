"""Matches recorded runs to numbers in the paper, and lists how they deviate from the paper."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from resnet_backbone.paper.published import Schedule, Statistic
from resnet_backbone.paper.record_schema import Record

ErrorName = Literal["top1_error", "top5_error", "training_error", "test_error"]

IMAGENET_NAMES = ("imagenet", "imagenet1k", "ilsvrc", "ilsvrc2012", "ilsvrc2015")


@dataclass(frozen=True)
class Runs:
    """Runs of one network that differ only in their seeds.

    Attributes:
        records: One or more records.
        deviations: Deviations from the paper, in words; empty if the runs are comparable.
    """

    records: tuple[Record, ...]
    deviations: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of training images that each of the runs has processed."""
        training = self.records[0].training
        return training.steps * training.batch_size

    def error(
        self,
        name: ErrorName,
        statistic: Statistic = "mean of 5 runs",
        testing: str = "single",
    ) -> float | None:
        """Returns the final error over the seeds, in percent; None if it is not recorded.

        Args:
            name: Which error; "test_error" is the top-1 error.
            statistic: "best of 5 runs" gives the minimum over the seeds, anything else the mean.
            testing: The test method, as in `evaluation.testing`.
        """
        found = [_error(record, name, testing) for record in self.records]
        values = [value for value in found if value is not None]
        if not values:
            return None
        return 100 * (min(values) if statistic == "best of 5 runs" else statistics.fmean(values))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the test error over the seeds, in percentage points."""
        errors = [100 * record.test.top1_error for record in self.records]
        return statistics.stdev(errors) if len(errors) > 1 else None

    @property
    def origin(self) -> str:
        """Configuration, dataset, seeds, steps, machine and date, on one line."""
        first = self.records[0]
        seeds = ", ".join(str(seed) for seed in sorted(record.seed for record in self.records))
        parts = [
            first.experiment,
            first.data.name,
            f"seed{'s' if len(self.records) > 1 else ''} {seeds}",
            f"{first.training.steps:,} steps of {first.training.batch_size}",
            first.machine.gpu or "CPU",
            max(record.date for record in self.records),
        ]
        return "; ".join(parts)


def _error(record: Record, name: ErrorName, testing: str) -> float | None:
    if name == "training_error":
        return record.final_training_error
    test = record.tested(testing)
    if test is None:
        return None
    return test.top5_error if name == "top5_error" else test.top1_error


def find_runs(records: Iterable[Record], network: str, schedule: Schedule) -> list[Runs]:
    """Returns the runs of a network on the paper's dataset, most comparable first.

    Args:
        records: All recorded runs.
        network: The network's name in this package.
        schedule: The paper's schedule.
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.network == network and dataset_of(record) == schedule.dataset:
            groups.setdefault(conditions(record), []).append(record)
    runs = [Runs(tuple(group), deviations(group[0], schedule)) for group in groups.values()]
    return sorted(runs, key=lambda group: (len(group.deviations), -group.images))


def find_pair(
    records: Sequence[Record], networks: tuple[str, str], schedule: Schedule
) -> tuple[Runs, Runs] | None:
    """Returns runs of two networks under the same conditions, or None."""
    first, second = (find_runs(records, network, schedule) for network in networks)
    for one in first:
        for other in second:
            if conditions(one.records[0]) == conditions(other.records[0]):
                return one, other
    return None


def find_together(
    records: Sequence[Record], networks: Sequence[str], schedule: Schedule
) -> Mapping[str, Runs]:
    """Returns runs under the same conditions, for as many of the networks as possible."""
    found: dict[tuple[object, ...], dict[str, Runs]] = {}
    for network in networks:
        for runs in find_runs(records, network, schedule):
            found.setdefault(conditions(runs.records[0]), {}).setdefault(network, runs)
    candidates = list(found.values())
    return max(candidates, key=lambda group: (len(group), _comparable(group)), default={})


def _comparable(group: Mapping[str, Runs]) -> tuple[int, int]:
    runs = next(iter(group.values()))
    return -len(runs.deviations), runs.images


def conditions(record: Record) -> tuple[object, ...]:
    """Returns what must be equal for two runs to be comparable.

    With a plateau schedule the number of steps may differ, since it depends on the error.
    """
    training = record.training
    if training.kind == "plateau":
        training = training.model_copy(update={"steps": 0})
    return record.data, training


def dataset_of(record: Record) -> str | None:
    """Returns "cifar10" or "imagenet", also for copies of these datasets, otherwise None."""
    name = re.sub(r"[-_ ]", "", record.data.name.lower())
    if name.startswith("cifar10") and not name.startswith("cifar100"):
        return "cifar10"
    return "imagenet" if name in IMAGENET_NAMES else None


def deviations(record: Record, schedule: Schedule) -> tuple[str, ...]:
    """Returns how a run deviates from the paper, in words."""
    ours = record.training
    found = []
    if ours.steps * ours.batch_size < schedule.images and not _plateaued(record, schedule):
        share = ours.steps * ours.batch_size / schedule.images
        found.append(f"shortened to {100 * share:.3g} % of the schedule")
    elif ours.steps * ours.batch_size > schedule.images:
        found.append("longer than the schedule")
    if ours.batch_size != schedule.batch_size:
        found.append(f"batch size {ours.batch_size} instead of {schedule.batch_size}")
    if ours.lr != schedule.lr:
        found.append(f"learning rate {ours.lr:g} instead of {schedule.lr:g}")
    if not _drops_alike(record, schedule):
        found.append("different drops of the learning rate")
    if record.data.hold_out:
        found.append(f"tested on {record.data.hold_out:,} held-out training images")
    return (*found, *ours.extras)


def _plateaued(record: Record, schedule: Schedule) -> bool:
    """Returns whether the run was long enough for the paper's schedule but stopped early."""
    ours = record.training
    return ours.kind == "plateau" and ours.max_iter * ours.batch_size >= schedule.images


def _drops_alike(record: Record, schedule: Schedule) -> bool:
    """Returns whether the learning rate drops at the same fractions of the schedule."""
    ours = record.training
    if not schedule.milestones:
        return ours.kind == "plateau"
    shares = [milestone / ours.max_iter for milestone in ours.milestones]
    expected = [milestone / schedule.max_iter for milestone in schedule.milestones]
    near = len(shares) == len(expected) and all(
        abs(a - b) < 0.01 for a, b in zip(shares, expected, strict=True)
    )
    return ours.kind == "multistep" and near
