"""Numbers of steps that are scaled together: milestones, warm-up, growing images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Keys whose steps depend on the length of the run.
FITTED = (("solver", "milestones"), ("solver", "warmup_iters"), ("data", "progressive"))


def fit_to_length(
    tree: Mapping[str, Any], length: object, planned: object, keep: Iterable[str] = ()
) -> dict[str, Any]:
    """Returns what a schedule that was planned for a number of steps is for another number.

    Milestones and growing images keep their place in the run. A warm-up is only shortened. Periods
    stay as they are: an evaluation takes as long in a short run as in a long one.

    Args:
        tree: The sections of a configuration, perhaps not validated yet.
        length: The number of steps.
        planned: The number of steps that the schedule was planned for.
        keep: Dotted keys that stay as they are.

    Returns:
        The new values that differ, by dotted key; none if the lengths are no numbers.
    """
    if not isinstance(length, (int, float)) or not isinstance(planned, (int, float)):
        return {}
    if length <= 0 or planned <= 0:
        return {}
    ratio, new = length / planned, {}
    for section, key in FITTED:
        unused = key == "milestones" and tree["solver"]["schedule"] != "multistep"
        before = tree[section].get(key) if isinstance(tree[section], Mapping) else None
        if before is None or unused or f"{section}.{key}" in keep:
            continue
        value = rescaled(before, 1.0 / (min(1.0, ratio) if key == "warmup_iters" else ratio))
        if value != before:
            new[f"{section}.{key}"] = value
    return new


def rescaled(value: Any, factor: float) -> Any:  # noqa: ANN401
    """Divides a number of steps, milestones, or pairs of a step and a size by `factor`."""
    if isinstance(value, int):
        return _steps(value, factor)
    if value and isinstance(value[0], tuple):
        steps = _ascending(_steps(step, factor) for step, _ in value)
        return tuple(zip(steps, (size for _, size in value), strict=True))
    return _ascending(_steps(step, factor) for step in value)


def _steps(count: int, factor: float) -> int:
    """Scales a number of steps. 0 means never and stays 0; other numbers stay at least 1."""
    return max(1, round(count / factor)) if count else 0


def _ascending(steps: Iterable[int]) -> tuple[int, ...]:
    """Separates steps that are equal after rounding."""
    apart: list[int] = []
    for step in steps:
        apart.append(max(step, apart[-1] + 1) if apart else step)
    return tuple(apart)
