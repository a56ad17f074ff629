"""A run: its configuration, task, state and output folder; set up from the start or restored."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine import run_folder, schedule
from resnet_backbone.engine.agreement import check_same_data_on_ranks
from resnet_backbone.engine.checkpoint import Checkpoints, Found, step_name
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.interrupt import StopFlag
from resnet_backbone.engine.metrics import Clock, Line, MetricsLog, summary
from resnet_backbone.engine.optimizer import AveragedWeights, build_optimizer
from resnet_backbone.engine.resumption import check_same_config, check_same_data, checked_about
from resnet_backbone.engine.state import TrainState, read_state_record
from resnet_backbone.engine.step import Stepper, StepResult, total_loss
from resnet_backbone.engine.task import C, Settled, Task
from resnet_backbone.errors import StorageError
from resnet_backbone.utils import distributed, precision, run_layout, seed, storage
from resnet_backbone.utils.logging import deferred, release
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.text import count_of

# DDP's argument for sending buffers before every step, which torch 2.14 has renamed.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)
SHOWN = 10  # evaluations of a run, evenly spaced, that draw pictures
ERROR = "error"  # the models' name for the fraction of misclassified training images

logger = logging.getLogger(__name__)


class Run:
    """What the training loop works on. Every rank has a Run; only the main rank's writes files.

    It is a context manager: files are open inside the block, and nothing is written before it.

    Args:
        task: Model and data.
        cfg: The configuration, scaled to the batch size.
        output: The output folder, already locked for this run.
        device: This rank's device.

    Attributes:
        result: The result of the last evaluation, or None.
    """

    def __init__(self, task: Task[Any], cfg: RunConfig, output: Path, device: torch.device) -> None:
        self.cfg = cfg
        self.task = task
        self.output = output
        self.result: EvaluationResult | None = None
        self.checkpoints = Checkpoints(output, cfg.checkpoint.keep)
        self.state = _initial_state(cfg, task.model, device)
        self.stepper = Stepper(self.state, _parallel(task.model, device), cfg.solver, device)
        self.clock = Clock()
        self._log: MetricsLog | None = None

    def __enter__(self) -> Run:
        distributed.on_main(self._open_files)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._log is None:
            return
        try:
            self._log.close()
        except StorageError as failure:
            if error is None:
                raise
            logger.warning("%s", failure)  # the first error is the one to raise

    def restore(self, found: Found) -> None:
        """Restores the state from a checkpoint, and logs what was restored.

        Raises:
            DataError: the dataset is not the one that the run was started with.
            StorageError: the checkpoint does not fit the model.
        """
        record = read_state_record(found.files)
        about, scores = checked_about(found), record["progress"]["history"]
        plateau = self.cfg.solver.schedule == "plateau" and bool(scores)
        same = check_same_data(about, self.task.identity(), found.folder, plateau=plateau)
        self.state.from_files(found.files)
        progress = self.state.progress
        if not same:
            logger.warning(
                "%s: the validation data were others; its scores (best %s at step %s) cannot be "
                "compared with those from now on, and are forgotten",
                *(found.folder, progress.best, progress.best_step),
            )
            progress.forget_scores()
        generators, rank = about["generators"], distributed.rank()
        if len(generators) != distributed.world_size():
            logger.warning(
                "ranks: %d before, %d from now on; batch statistics and random numbers change",
                *(len(generators), distributed.world_size()),
            )
        if rank < len(generators):
            try:
                seed.set_state(generators[rank])
            except (LookupError, TypeError, ValueError, RuntimeError, OverflowError) as error:
                raise StorageError(
                    f"{found.folder}: the state of the random generators is damaged: {error}"
                ) from error
        logger.info(
            "resumed from %s: step %d, model, optimizer, %s%srandom generators of %s, %s",
            *(found.folder, progress.step),
            "averaged weights, " if self.state.average is not None else "",
            "loss scale, " if self.state.scaler.is_enabled() else "",
            *(count_of(len(generators), "rank"), self._best()),
        )

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or early stopping ends the run."""
        return self.ends_early or self.state.progress.step >= self.cfg.solver.max_iter

    @property
    def ends_early(self) -> bool:
        """Whether early stopping ends the run, before its last step."""
        patience, progress = self.cfg.evaluation.patience, self.state.progress
        waited = patience is not None and progress.without_improvement >= patience
        return waited and progress.step < self.cfg.solver.max_iter

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether to save a checkpoint after this step; always before an evaluation."""
        due = self._is_due(self.cfg.checkpoint.period)
        return due or self.state.progress.evaluation_pending

    def save(self) -> None:
        """Saves a checkpoint after the current step; every rank must call it.

        Raises:
            DivergedError: the step's gradient, or a weight, is not finite.
        """
        self.stepper.settle()
        self.checkpoints.save(self.state, self._about())

    def count(self, result: StepResult, rate: float) -> None:
        """Records a step's values, and writes their means every `log_period` steps."""
        progress = self.state.progress
        progress.step += 1
        progress.evaluation_pending = self._is_due(self.cfg.evaluation.period)
        progress.window_steps += 1
        for name, value in result.values.items():
            progress.window[name] = progress.window.get(name, 0.0) + value
        if not self._is_due(self.cfg.log_period):
            return
        means = {name: total / progress.window_steps for name, total in progress.window.items()}
        progress.window, progress.window_steps = {}, 0
        if (limit := self.cfg.solver.warmup_until_error) is not None:
            progress.warm = progress.warm or means.get(ERROR, 1.0) < limit
        line = {"loss": total_loss(means), **means, "lr": rate}
        line |= self.clock.read(steps_left=self.cfg.solver.max_iter - progress.step)
        self._write(line)
        logger.info("step %d/%d %s", progress.step, self.cfg.solver.max_iter, summary(line))

    def evaluate(self, stop: StopFlag) -> None:
        """Evaluates the weights and saves them if they are the best; every rank must call it.

        Raises:
            Interrupted: a rank was asked to stop.
        """
        self.stepper.settle()
        progress = self.state.progress
        with self.exported_weights():
            self.result = self.task.evaluate(stop.on_any_rank)
            line = self.result.flat()
            score = line[self.task.score]
            if self._shows_progress:
                folder = step_name(progress.step)
                distributed.on_main(lambda: self.task.draw_progress(self.output, folder))
            if progress.judge(score, lower_is_better=self.task.lower_is_better):
                distributed.on_main(self._save_best)
            progress.evaluation_pending = False
        self._write(line)
        logger.info(
            "step %d: %s %s, best %s at step %s",
            *(progress.step, self.task.score, _digits(score)),
            *(_digits(progress.best), progress.best_step),
        )

    @contextmanager
    def exported_weights(self) -> Iterator[None]:
        """Temporarily puts the weights to export into the model: the averaged ones, if any."""
        model, average = self.task.model, self.state.average
        if average is not None:
            average.swap(model)
        # Running statistics of normalisation layers differ between ranks; use the main rank's.
        parameters = dict(model.named_parameters())
        for name, tensor in model.state_dict().items():
            if name not in parameters:
                distributed.broadcast_tensor(tensor)
        try:
            yield
        finally:
            if average is not None:
                average.swap(model)

    def how_it_ended_early(self) -> str:
        """Returns why the run ends before its last step, and where its best weights are."""
        progress = self.state.progress
        text = (
            f"ended early, at step {progress.step} of {self.cfg.solver.max_iter}: {self._best()}, "
            f"and none better in {count_of(progress.without_improvement, 'evaluation')} since "
            "(evaluation.patience)"
        )
        best = self.output / run_layout.BEST
        return text if progress.best is None else f"{text}; the best weights are in {best}"

    def how_to_continue(self) -> str:
        """Returns how to continue the run after a signal has stopped it."""
        step = self.state.progress.step
        folder = self.checkpoints.folder / step_name(step)
        return f"step {step} is saved in {folder}; continue with the same command and --resume"

    @property
    def _shows_progress(self) -> bool:
        """Whether to draw pictures at this evaluation: `SHOWN` times at most, not at the end."""
        step, steps = self.state.progress.step, self.cfg.solver.max_iter
        before = step - self.cfg.evaluation.period
        return step < steps and step * SHOWN // steps > before * SHOWN // steps

    def _best(self) -> str:
        best, step = self.state.progress.best, self.state.progress.best_step
        name = self.task.score
        return f"no {name} yet" if best is None else f"best {name} {_digits(best)} at step {step}"

    def _is_due(self, period: int) -> bool:
        step = self.state.progress.step
        return step >= self.cfg.solver.max_iter or (period > 0 and step % period == 0)

    def _open_files(self) -> None:
        storage.make_folder(self.output)
        run_folder.check_space(self.output, 2 * self.state.size())
        own = OwnFiles(self.output, "run")
        own.claim(run_folder.AT_THE_START)
        self.checkpoints.prepare()
        release()
        run_folder.write_description(self.output, self.cfg, distributed.world_size())
        board = self.output / run_layout.TENSORBOARD
        before = set(board.glob("*"))
        step = self.state.progress.step
        self._log = MetricsLog(self.output / run_layout.METRICS, board, step)
        own.adopt(f"{board.name}/{file.name}" for file in set(board.glob("*")) - before)

    def _write(self, line: Line) -> None:
        if self._log is not None:
            self._log.write(self.state.progress.step, line)

    def _save_best(self) -> None:
        card = self.task.card(self.result)
        self.checkpoints.save_best(self.task.weights(), self.state.progress.step, card)

    def _about(self) -> dict[str, Any]:
        return {"config": self.cfg.model_dump(mode="json"), **self.task.identity()}


def begin_run(
    task_type: type[Task[C]],
    settled: Settled[C],
    output: Path,
    device: torch.device,
    *,
    resume: bool,
) -> Run:
    """Sets up a run from the start or from its newest checkpoint; removes nothing.

    Args:
        task_type: The type of task to train.
        settled: The completed configuration, from `task_type.settle`.
        output: The output folder, already locked for this run.
        device: This rank's device.
        resume: Whether to continue from the newest checkpoint in `output`, if there is one.

    Raises:
        ConfigError: the batch cannot be divided among the ranks, the checkpoint has other settings,
            or the task cannot be built.
        DataError: the data cannot be used, are not those that the run was started with, or are
            different on other ranks.
        WeightsError: the initial weights cannot be loaded.
        StorageError: all checkpoints are damaged, or the newest one does not fit the model.
    """
    checkpoints = Checkpoints(output, settled.cfg.checkpoint.keep)
    found = distributed.on_main(lambda: _find_checkpoint(checkpoints, output)) if resume else None
    saved = None if found is None else checked_about(found)["config"]
    fit_to = None if saved is None else schedule.schedule_length(saved)
    cfg = _with_precision(settled.cfg, device, saved)
    # Settings are of interest only once nothing is wrong with the data.
    with deferred(schedule.logger) as log_settings:
        cfg = schedule.scale_to_batch(cfg, distributed.world_size(), fit_to=fit_to)
    if found is not None and saved is not None and cfg.solver.epochs is None:
        check_same_config(saved, cfg, found.folder)
    seed.seed_everything(cfg.seed)
    task = task_type(cfg, device, settled.weights)
    log_settings()
    check_same_data_on_ranks(task.identity())
    if cfg.solver.epochs is not None:  # the number of steps is known only now
        cfg = task.cfg = schedule.settle_epochs(cfg, task.training_images, fit_to=fit_to)
        if found is not None and saved is not None:
            check_same_config(saved, cfg, found.folder)
    run = Run(task, cfg, output, device)
    if (rank := distributed.rank()) > 0:
        # Models begin alike, but stochastic depth is drawn for the images of each rank.
        seed.seed_everything(cfg.seed, rank)
    if found is not None:
        run.restore(found)
    return run


def _with_precision(cfg: C, device: torch.device, saved: Mapping[str, Any] | None) -> C:
    """Settles `solver.amp=auto`: as the run was begun, or bf16 if all ranks are fast at it.

    Args:
        cfg: The configuration to train with.
        device: This rank's device.
        saved: The configuration in the checkpoint to continue from, if there is one.

    Raises:
        ConfigError: the run was begun in a precision that the device does not have.
    """
    amp = cfg.solver.amp
    slow = distributed.is_true_anywhere(not precision.has_fast_bf16(device))
    if amp == "auto" and saved is not None:
        amp = saved["solver"].get("amp", "off")
        precision.check(amp, device)
    elif amp == "auto":
        amp = "off" if slow else "bf16"
    if amp == "bf16" and slow:
        logger.warning(
            "solver.amp is bf16, for which this processor has no instructions: float32 is faster"
        )
    return cfg.model_copy(update={"solver": cfg.solver.model_copy(update={"amp": amp})})


def _digits(score: float | None) -> str:
    """Returns a metric as the tables have it; metrics.jsonl has all digits."""
    return "none" if score is None else f"{score:.3f}"


def _find_checkpoint(checkpoints: Checkpoints, output: Path) -> Found | None:
    found = checkpoints.newest()
    if found is None:
        logger.warning("%s: no checkpoint to resume from; starting at step 0", output)
    return found


def _initial_state(cfg: RunConfig, model: nn.Module, device: torch.device) -> TrainState:
    solver = cfg.solver
    return TrainState(
        model=model.train(),
        optimizer=build_optimizer(model, solver),
        scaler=torch.amp.GradScaler(device.type, enabled=solver.amp == "fp16"),
        average=None if solver.ema_decay is None else AveragedWeights(model, solver.ema_decay),
    )


def _parallel(model: nn.Module, device: torch.device) -> nn.Module:
    if distributed.world_size() == 1:
        return model
    # The gradient of a 1x1 convolution in channels_last has the same order in memory as its
    # parameter, but may state other strides for the axes of length 1.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    sync: dict[str, Any] = {_SYNC_BUFFERS: False}
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **sync,
    )
