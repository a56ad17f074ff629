"""What a run is going to do, in a few lines of the log before its first step."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping

from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine.schedule import learning_rate
from resnet_backbone.engine.task import Task
from resnet_backbone.utils import precision
from resnet_backbone.utils.text import count_of

LISTED = 12  # classes; of more, only the commonest and the rarest are named

logger = logging.getLogger(__name__)


def announce(task: Task[RunConfig], cfg: RunConfig) -> None:
    """Logs what there is to learn from and for how long, and warns of what cannot work.

    Args:
        task: The task, with its data.
        cfg: The configuration, whose number of steps is known.
    """
    images, counts = task.training_images, task.label_counts()
    if counts:
        logger.info("training images: %s; %s: %s", f"{images:,}", task.label, _listed(counts))
    logger.info("%s", _length(cfg, images))
    precision.log_precision(cfg.solver.amp)
    if images == 1:
        logger.warning("there is one training image, which the model can only memorise")
    if cfg.solver.max_iter < len(task.class_names):
        logger.warning(
            "the run has %s, fewer than its %s",
            count_of(cfg.solver.max_iter, "step"),
            count_of(len(task.class_names), "class", "classes"),
        )


def expected_end(seconds_per_step: float, steps_left: int, now: float) -> str:
    """Returns when training ends if it goes on as fast as so far.

    Args:
        seconds_per_step: Mean time of the steps so far.
        steps_left: How many steps remain.
        now: The time, in seconds since the epoch.
    """
    seconds = seconds_per_step * steps_left
    pattern = "%H:%M" if seconds < 20 * 3600 else "%Y-%m-%d %H:%M"
    end = time.strftime(pattern, time.localtime(now + seconds))
    return f"{seconds_per_step:.2f} s per step: training ends about {end}, without evaluations"


def highest_rate(cfg: RunConfig) -> float:
    """Returns the highest learning rate of all steps: rates only fall once the warm-up is over."""
    solver = cfg.solver
    last = min(solver.warmup_iters, solver.max_iter - 1)
    return max(learning_rate(solver, step) for step in range(last + 1))


def _length(cfg: RunConfig, images: int) -> str:
    solver, batch = cfg.solver, cfg.solver.batch_size or 1
    per_epoch = max(1, images // batch)
    period = cfg.evaluation.period or solver.max_iter
    return (
        f"{count_of(solver.max_iter, 'step')} of {count_of(batch, 'image')}, {per_epoch:,} per "
        f"epoch, {solver.max_iter * batch / images:.3g} epochs; highest learning rate "
        f"{highest_rate(cfg):.3g}; {count_of(math.ceil(solver.max_iter / period), 'evaluation')}"
    )


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts, key=lambda name: -counts[name])
    named = [f"{counts[name]:,} {name}" for name in ordered]
    if len(named) > LISTED:
        rest = len(named) - LISTED
        named[LISTED // 2 : -LISTED // 2] = [f"({count_of(rest, 'class', 'classes')} between)"]
    return ", ".join(named)
