"""The training loop, from the first step, or from where the run was interrupted, to the last."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch

from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine import attempts, run_folder
from resnet_backbone.engine.finish import finish
from resnet_backbone.engine.first_batches import FirstBatches
from resnet_backbone.engine.interrupt import StopFlag, stop_flag
from resnet_backbone.engine.metrics import ProgressBar
from resnet_backbone.engine.outlook import announce, expected_end
from resnet_backbone.engine.run import Run, begin_run
from resnet_backbone.engine.schedule import learning_rate
from resnet_backbone.engine.task import C, Task
from resnet_backbone.errors import ConfigError, DataError, Interrupted, RankError
from resnet_backbone.structures import Batch, ImageBatch
from resnet_backbone.utils import distributed, precision, run_layout
from resnet_backbone.utils import logging as log
from resnet_backbone.utils.allocator import keep_freed_memory
from resnet_backbone.utils.device import pick_device
from resnet_backbone.utils.imports import import_modules

TIMED_STEPS = 5  # after these, the log says when training will end

logger = logging.getLogger(__name__)


def train_task(
    task_type: type[Task[C]], cfg: C, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Trains and evaluates the model that `cfg` describes; every rank must call it.

    Args:
        task_type: `DetectionTask`, `ClassificationTask`, or a task of your own.
        cfg: The task's configuration, not yet scaled to the batch size.
        resume: Continue the run in the output folder; start it if there is none.
        overwrite: Discard the run in the output folder. Processes that torchrun restarts continue
            the run that their job has begun, whatever the flags.

    Returns:
        The output folder with config.yaml, log.txt, metrics.jsonl, tensorboard/, checkpoints/,
        best/, model.safetensors, results.json, curves.png and what the task adds.

    Raises:
        ConfigError: the settings cannot work, or differ from those of the checkpoint to resume.
        DataError: the images or annotations cannot be used.
        WeightsError: the initial weights cannot be loaded.
        StorageError: the folder cannot be written, or holds another run.
        DivergedError: a loss or a gradient is not finite.
        Interrupted: SIGINT or SIGTERM was received; the state is saved.
        RankError: another rank has failed or is gone.
    """
    device = pick_device(cfg.device)
    check_device(cfg, device)
    if device.type == "cpu":
        keep_freed_memory()
    output = Path(cfg.output)
    import_modules(cfg.imports)
    task_type.check_files(cfg)
    # The error to log is what `joined` makes of one about the connection between ranks.
    with ExitStack() as stack:
        # An earlier run and its log are kept until nothing can prevent this run from starting.
        begun = stack.enter_context(log.log_of_run(output / run_layout.LOG, distributed.rank()))
        stack.enter_context(distributed.joined(device))
        stop = stack.enter_context(stop_flag())
        restarted = distributed.on_main(lambda: attempts.is_restart(output))
        resume, overwrite = resume or restarted, overwrite and not restarted
        distributed.on_main(
            lambda: run_folder.open_folder(stack, output, resume=resume, overwrite=overwrite)
        )
        settled = task_type.settle(cfg)  # reads the initial weights, or downloads them
        for warning in settled.warnings:
            logger.warning(warning)
        if restarted:
            logger.info("restarted by torchrun: continuing the run that this job has begun")
        run = begin_run(task_type, settled, output, device, resume=resume)
        del settled  # frees the initial weights, which the model has copied
        if not resume:
            distributed.on_main(lambda: run_folder.discard(output))
        distributed.on_main(lambda: attempts.mark_as_begun(output))
        stack.enter_context(run)
        begun()
        announce(run.task, run.cfg)
        distributed.on_main(lambda: run.task.draw_labels(output / run_layout.LABELS))
        try:
            _loop(run, stop)
        except Interrupted as interrupted:
            raise Interrupted(f"{interrupted}; {run.how_to_continue()}") from interrupted
        finish(run)
    return output


def _loop(run: Run, stop: StopFlag) -> None:
    """Trains until all steps are done, or until early stopping."""
    solver, progress = run.cfg.solver, run.state.progress
    if progress.evaluation_pending:
        run.evaluate(stop)
    batches, first = run.task.training_batches(progress.step), progress.step
    fresh = distributed.is_main() and first == 0
    pictures = FirstBatches(run.task, run.output / run_layout.TRAIN_BATCHES, enabled=fresh)
    with ProgressBar(progress.step, solver.max_iter, enabled=distributed.is_main()) as bar:
        while not run.is_over:
            run.clock.start()
            share = _next_share(batches, run)
            run.clock.loaded()
            rate = learning_rate(
                solver, progress.step, history=progress.history, warm=progress.warm
            )
            result = run.stepper.step(share, rate, stop=bool(stop))
            run.clock.computed()
            pictures.show(share, last=progress.step + 1 >= solver.max_iter or result.stop)
            run.count(result, rate)
            bar.advance(result.loss)
            if progress.step - first == TIMED_STEPS and not run.is_over:
                left = solver.max_iter - progress.step
                logger.info("%s", expected_end(run.clock.seconds_per_step, left, time.time()))
            if result.stop or run.checkpoint_is_due:
                run.save()
            if result.stop:
                raise Interrupted("stopped by a signal")
            if progress.evaluation_pending:
                run.evaluate(stop)
    if run.ends_early:
        logger.info("%s", run.how_it_ended_early())
    if run.result is None:
        run.evaluate(stop)


def _next_share(batches: Iterator[Batch | ImageBatch], run: Run) -> list[Batch | ImageBatch]:
    """Returns this rank's micro-batches of the next step; every rank must call it.

    Raises:
        DataError: an image of this rank cannot be read; the steps done so far are saved.
        RankError: an image of another rank cannot be read; likewise.
    """
    share: list[Batch | ImageBatch] = []
    failure: DataError | None = None
    try:
        share = [next(batches) for _ in range(run.cfg.solver.accumulate)]
    except DataError as error:
        failure = error
    if not distributed.is_true_anywhere(failure is not None):
        return share
    told = distributed.all_gather_object(None if failure is None else str(failure))
    saved = ""
    if run.state.progress.step > 0:
        run.save()
        saved = f"; {run.how_to_continue()}"
    if failure is not None:
        raise DataError(f"{failure}{saved}") from failure
    rank, text = next((rank, text) for rank, text in enumerate(told) if text is not None)
    raise RankError(f"rank {rank} failed: {text}{saved}", DataError.exit_code)


def check_device(cfg: RunConfig, device: torch.device) -> None:
    """Raises ConfigError for settings that the device does not support."""
    precision.check(cfg.solver.amp, device)
    if device.type == "cpu" and cfg.norm == "SyncBN":
        raise ConfigError("the norm is SyncBN, which needs GPUs; BN is the same on one device")
