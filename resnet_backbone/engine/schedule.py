"""The learning rate schedule, and its scaling to the batch size."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from resnet_backbone.config.lengths import FITTED, fit_to_length, rescaled
from resnet_backbone.config.overrides import explicit_keys
from resnet_backbone.config.run_schema import RunConfig, SolverConfig
from resnet_backbone.engine.plateau import drops
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils import distributed
from resnet_backbone.utils.text import count_of
from resnet_backbone.utils.trees import leaves

IMAGES_PER_RANK = 2  # as detectron2: 16 images on 8 GPUs
# The least that `solver.epochs: auto` stands for: detectron2's 1x schedule of COCO, and as many
# images as a fine-tuned detector of the quickstart's size needs.
EPOCHS, IMAGES_SHOWN = 12, 1_000

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


def scale_to_batch(cfg: C, world_size: int, *, fit_to: int | None = None) -> C:
    """Returns the configuration with its batch size filled in and the schedule scaled to it.

    The linear scaling rule (Goyal et al. 2017, section 2.1): for a k times larger batch, the
    learning rate is multiplied and the numbers of steps are divided by k. Keys given on the command
    line are not scaled; if `solver.max_iter` is among them, the schedule is fitted to it, also with
    `scale: false`. The result has `scale: false`, so that scaling it again changes nothing.

    Args:
        cfg: The configuration.
        world_size: Number of ranks.
        fit_to: The number of steps to fit the schedule to instead of `solver.max_iter`, see
            `schedule_length`.

    Raises:
        ConfigError: the batch cannot be divided evenly among ranks and micro-batches, or the
            warm-up is as long as the run.
    """
    batch_size = _batch_size(cfg.solver, world_size)
    factor = batch_size / cfg.solver.reference_batch_size
    explicit = explicit_keys(cfg.overrides)
    tree: dict[str, Any] = cfg.model_dump()
    tree["solver"] |= {"batch_size": batch_size, "scale": False}
    if cfg.solver.epochs is not None:  # `settle_epochs` fits the schedule
        planned = cfg.solver.reference_max_iter or cfg.solver.max_iter
        tree["solver"] |= {"max_iter": planned, "reference_max_iter": None}
    planned = tree["solver"]["reference_max_iter"]
    if cfg.solver.scale:
        tree["solver"]["reference_batch_size"] = batch_size
        planned = planned and planned / factor
        for section, key in _SCALED if factor != 1.0 else ():
            if key in tree[section]:
                _scale(tree[section], f"{section}.{key}", key, factor, explicit)
    elif factor != 1.0 and "solver.batch_size" in explicit and "solver.lr" not in explicit:
        logger.warning(
            "solver.scale is false: solver.lr and the numbers of steps are those for batches of "
            "%s, but the batches have %d",
            *(count_of(cfg.solver.reference_batch_size, "image"), batch_size),
        )
    if planned is not None:
        _fit(tree, planned, explicit, fit_to)
    tree["solver"]["reference_max_iter"] = None if fit_to == tree["solver"]["max_iter"] else fit_to
    return _checked(type(cfg), tree, resumed=fit_to is not None)


def changes_by_batch(cfg: RunConfig) -> dict[str, Any]:
    """Returns, by dotted key, what a run on one device uses instead of the configuration's values.

    With `solver.epochs`, the number of steps is not known before the images are counted.
    """
    before = dict(leaves(cfg.model_dump()))
    after = dict(leaves(scale_to_batch(cfg, world_size=1).model_dump()))
    unknown = {"solver.max_iter", *(".".join(key) for key in FITTED)} if cfg.solver.epochs else ()
    hidden = {*unknown, *(f"solver.{key}" for key in _BOOKKEEPING)}
    return {k: v for k, v in after.items() if v != before[k] and k not in hidden}


def settle_epochs(cfg: C, images: int, *, fit_to: int | None = None) -> C:
    """Returns the configuration with the number of steps that `solver.epochs` makes.

    Args:
        cfg: The configuration, scaled to the batch size.
        images: The number of training images.
        fit_to: As in `scale_to_batch`.
    """
    solver = cfg.solver
    if solver.epochs is None or solver.batch_size is None:
        return cfg
    if solver.epochs == "auto":
        shown: float = max(EPOCHS * images, IMAGES_SHOWN)
    else:
        shown = solver.epochs * images
    steps = max(1, math.ceil(shown / solver.batch_size))
    tree: dict[str, Any] = cfg.model_dump()
    other = None if fit_to == steps else fit_to
    tree["solver"] |= {"max_iter": steps, "epochs": None, "reference_max_iter": other}
    logger.info(
        "solver.epochs: %g of %s are %s of %s",
        *(shown / images, count_of(images, "image")),
        *(count_of(steps, "step"), count_of(solver.batch_size, "image")),
    )
    _fit(tree, solver.max_iter, explicit_keys(cfg.overrides), fit_to)
    return _checked(type(cfg), tree, resumed=fit_to is not None)


def schedule_length(saved: Mapping[str, Any]) -> int:
    """Returns the number of steps that the schedule in a checkpoint's configuration was made for.

    A run that is resumed with another length keeps its schedule, as the steps done followed it.
    """
    solver = saved["solver"]
    length: int = solver.get("reference_max_iter") or solver["max_iter"]
    return length


def _checked(kind: type[C], tree: dict[str, Any], *, resumed: bool) -> C:
    """Returns a scaled configuration; says what does not fit the run once its length is known."""
    solver = tree["solver"]
    if solver["epochs"] is None and tree["evaluation"]["times"] is not None:
        tree["evaluation"]["period"] = math.ceil(solver["max_iter"] / tree["evaluation"]["times"])
    cfg = kind.model_validate(tree)
    if cfg.solver.epochs is None:
        if not resumed:  # otherwise, the warm-up may be over
            _refuse_endless_warmup(cfg.solver)
        for sentence in misfits(cfg) if distributed.is_main() else ():
            logger.warning("%s", sentence)
    return cfg


def _refuse_endless_warmup(solver: SolverConfig) -> None:
    steps = solver.max_iter
    if solver.warmup_until_error is None and solver.warmup_iters >= steps > 1:
        raise ConfigError(
            f"solver.warmup_iters is {solver.warmup_iters}, but the run has "
            f"{count_of(steps, 'step')}: the learning rate would never reach solver.lr; set "
            f"solver.warmup_iters to less than {steps}"
        )


def misfits(cfg: RunConfig) -> list[str]:
    """Returns what of the schedule does not fit the length of the run, a sentence each."""
    solver, steps = cfg.solver, cfg.solver.max_iter
    found = []
    warmup = 0 if solver.warmup_until_error is not None else solver.warmup_iters
    if solver.schedule == "multistep":
        found += _misfits_of_milestones(solver, warmup)
    period = cfg.evaluation.period or steps
    evaluations = math.ceil(steps / period)
    if solver.schedule == "plateau" and evaluations <= solver.plateau_patience:
        found.append(
            f"solver.schedule is plateau, but there are no more evaluations than {evaluations} "
            f"(evaluation.period) and solver.plateau_patience is {solver.plateau_patience}: the "
            "learning rate never drops"
        )
    if cfg.evaluation.patience is not None and evaluations <= cfg.evaluation.patience:
        found.append(
            f"evaluation.patience is {cfg.evaluation.patience}, but there are no more evaluations "
            f"than {evaluations} (evaluation.period): the run does not stop early"
        )
    sentence = "{} is {}, but the run has {}: it is {} only at its end"
    length, saved = count_of(steps, "step"), cfg.checkpoint.period
    if period > steps:
        found.append(sentence.format("evaluation.period", period, length, "evaluated"))
    if saved > steps and period >= steps:  # before an evaluation, it is saved as well
        found.append(sentence.format("checkpoint.period", saved, length, "saved"))
    return found


def _misfits_of_milestones(solver: SolverConfig, warmup: int) -> list[str]:
    found = []
    late = [step for step in solver.milestones if step >= solver.max_iter]
    if late:
        found.append(
            f"solver.milestones: the run has {count_of(solver.max_iter, 'step')} and does not "
            f"reach {', '.join(map(str, late))}: the learning rate does not drop there"
        )
    early = [step for step in solver.milestones if step < min(warmup, solver.max_iter)]
    if early:
        found.append(
            f"solver.milestones: {early[0]} is before the warm-up of {warmup} steps "
            "(solver.warmup_iters) ends: the learning rate never reaches solver.lr"
        )
    return found


def _fit(
    tree: dict[str, Any], planned: float, explicit: frozenset[str], fit_to: int | None
) -> None:
    """Fits a schedule that was planned for a number of steps to another number, in place."""
    length = fit_to or tree["solver"]["max_iter"]
    for path, value in fit_to_length(tree, length, planned, explicit).items():
        section, _, key = path.partition(".")
        logger.info(
            "%s: %s -> %s (a run of %s instead of %d)",
            *(path, tree[section][key], value, count_of(length, "step"), round(planned)),
        )
        tree[section][key] = value


_BOOKKEEPING = ("reference_batch_size", "reference_max_iter", "scale")  # of what was scaled
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
            f"{count_of(world_size, 'rank')} x"
            f" {count_of(solver.accumulate, 'micro-batch', 'micro-batches')} (solver.accumulate)"
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
    section[key] = before * factor if key == "lr" else rescaled(before, factor)
    if section[key] != before:
        logger.info("%s: %s -> %s (batch size x %g)", path, before, section[key], factor)
