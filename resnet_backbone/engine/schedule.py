"""The learning rate schedule, and its scaling to the batch size."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from resnet_backbone.config.run_schema import RunConfig, SolverConfig
from resnet_backbone.config.strict_yaml import read_text
from resnet_backbone.engine.plateau import drops
from resnet_backbone.errors import ConfigError

IMAGES_PER_RANK = 2  # as detectron2: 16 images on 8 GPUs

C = TypeVar("C", bound=RunConfig)

logger = logging.getLogger(__name__)


def learning_rate(
    solver: SolverConfig, step: int, *, history: Sequence[float] = (), warm: bool = True
) -> float:
    """Returns the learning rate of a step; depends only on the arguments.

    During warm-up the schedule's rate is multiplied by a factor. It rises linearly from
    `warmup_factor` to 1 (Goyal et al. 2017, section 2.2, in detectron2's form), or stays at
    `warmup_factor` until `warm` (He et al. 2016, section 4.2).

    Args:
        solver: The configuration's section `solver`.
        step: The step, counted from 0.
        history: The metric of all evaluations so far, with a sign such that lower is better.
        warm: Whether the training error has fallen below `warmup_until_error`.
    """
    share = _fraction(solver, step, history)
    if solver.warmup_until_error is not None:
        return solver.lr * share * (1.0 if warm else solver.warmup_factor)
    if step < solver.warmup_iters:
        progress = step / solver.warmup_iters
        share *= solver.warmup_factor * (1.0 - progress) + progress
    return solver.lr * share


def _fraction(solver: SolverConfig, step: int, history: Sequence[float]) -> float:
    """Returns the learning rate as a fraction of `solver.lr`, without warm-up."""
    if solver.schedule == "cosine":
        least = solver.min_lr / solver.lr
        return least + (1.0 - least) * 0.5 * (
            1.0 + math.cos(math.pi * min(step / solver.max_iter, 1.0))
        )
    if solver.schedule == "plateau":
        patience, threshold = solver.plateau_patience, solver.plateau_threshold
        found = drops(history, patience=patience, threshold=threshold)
        return solver.gamma ** min(found, solver.plateau_drops)
    return solver.gamma ** sum(step >= milestone for milestone in solver.milestones)


def scale_to_batch(cfg: C, world_size: int) -> C:
    """Returns the configuration with its batch size filled in and the schedule scaled to it.

    The linear scaling rule (Goyal et al. 2017, section 2.1): for a k times larger batch, the
    learning rate is multiplied and the numbers of steps are divided by k. Keys given on the command
    line are not scaled. The result has `scale: false`, so that scaling it again changes nothing.

    Raises:
        ConfigError: the batch cannot be divided evenly among ranks and micro-batches.
    """
    batch_size = _batch_size(cfg.solver, world_size)
    factor = batch_size / cfg.solver.reference_batch_size
    tree: dict[str, Any] = cfg.model_dump()
    tree["solver"] |= {"batch_size": batch_size, "scale": False}
    if cfg.solver.scale and factor != 1.0:
        explicit = _explicit_keys(cfg.overrides)
        for section, key in _SCALED:
            if key in tree[section]:
                _scale(tree[section], f"{section}.{key}", key, factor, explicit)
    return type(cfg).model_validate(tree)


_SCALED = (
    ("solver", "lr"),
    ("solver", "max_iter"),
    ("solver", "milestones"),
    ("solver", "warmup_iters"),
    ("evaluation", "period"),
    ("checkpoint", "period"),
    ("data", "progressive"),
)


def _batch_size(solver: SolverConfig, world_size: int) -> int:
    shares = world_size * solver.accumulate
    if solver.batch_size is None:
        return IMAGES_PER_RANK * shares
    if solver.batch_size % shares:
        raise ConfigError(
            f"solver.batch_size is {solver.batch_size}, expected a multiple of {shares}: "
            f"{world_size} ranks x {solver.accumulate} micro-batches (solver.accumulate)"
        )
    return solver.batch_size


def _scale(
    section: dict[str, Any], path: str, key: str, factor: float, explicit: frozenset[str]
) -> None:
    """Scales one key in place and logs the change."""
    before = section[key]
    if path in explicit:
        logger.info("%s: %s, not scaled, because it is given on the command line", path, before)
        return
    if key == "lr":
        section[key] = before * factor
    elif key == "milestones":
        section[key] = _ascending(_steps(step, factor) for step in before)
    elif key == "progressive":
        steps = _ascending(_steps(step, factor) for step, _ in before)
        section[key] = tuple(zip(steps, (size for _, size in before), strict=True))
    else:
        section[key] = _steps(before, factor)
    if section[key] != before:
        logger.info("%s: %s -> %s (batch size x %g)", path, before, section[key], factor)


def _steps(count: int, factor: float) -> int:
    """Scales a number of steps. 0 means never and stays 0; other numbers stay at least 1."""
    return max(1, round(count / factor)) if count else 0


def _ascending(steps: Iterable[int]) -> tuple[int, ...]:
    """Separates steps that are equal after rounding."""
    apart: list[int] = []
    for step in steps:
        apart.append(max(step, apart[-1] + 1) if apart else step)
    return tuple(apart)


def _explicit_keys(overrides: tuple[str, ...]) -> frozenset[str]:
    """Returns the keys set on the command line, singly or as part of a section's mapping."""
    keys = set()
    for override in overrides:
        path, _, text = override.partition("=")
        keys.add(path.strip())
        value, _ = read_text(text, path)
        if isinstance(value, dict):
            keys.update(f"{path.strip()}.{key}" for key in value)
    return frozenset(keys)
