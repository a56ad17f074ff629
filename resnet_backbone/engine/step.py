"""One optimizer step on all ranks."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_backbone.config.run_schema import SolverConfig
from resnet_backbone.engine.optimizer import gradient_norm, set_learning_rate, step_unless
from resnet_backbone.engine.state import TrainState
from resnet_backbone.errors import DivergedError
from resnet_backbone.structures import Batch, ImageBatch
from resnet_backbone.utils import distributed, precision
from resnet_backbone.utils.text import listing

LOSS = "loss"  # prefix of the names of losses
IMAGES_SHOWN = 8  # per rank, in the message about a loss or gradient that is not finite

T = TypeVar("T", float, Tensor)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """The result of a step, the same on all ranks.

    Attributes:
        values: Mean over ranks of the model's outputs: losses, and values that are only reported.
        stop: Whether any rank was asked to stop.
    """

    values: dict[str, float]
    stop: bool

    @property
    def loss(self) -> float:
        """The total loss."""
        return total_loss(self.values)


def total_loss(values: Mapping[str, T]) -> T:
    """Returns the sum of the values that are losses; the others are only reported."""
    return sum(value for name, value in values.items() if name.startswith(LOSS))  # type: ignore


@dataclass(frozen=True)
class _Attempt:
    """A step whose gradient may turn out not to be finite.

    Attributes:
        number: The step, counted from 1.
        rate: Learning rate.
        transfer: This rank's losses.
        image_ids: This rank's images.
        broken: float32[1] on the device; 1 if the norm of the gradient is not finite.
    """

    number: int
    rate: float
    transfer: _Transfer
    image_ids: Sequence[object]
    broken: Tensor


class Stepper:
    """Performs optimizer steps: forward and backward passes, update, averaging.

    Losses and gradients are checked in every step. The losses are known on the host before the
    update. Whether the gradient is finite is known at first on the device only; a GPU would be idle
    while the host waits for that. Therefore the answer comes with the losses of the next step,
    without a further synchronisation, or with `settle`. On a CPU, where nothing is gained by
    waiting, it is read before the update.

    Args:
        state: The training state; every step changes it, except for the step count.
        network: `state.model`, or DDP around it.
        solver: The configuration's section `solver`.
        device: The device that batches are moved to.
        deferred: Whether the gradient's check is read with the next step; None: on a GPU.
    """

    def __init__(
        self,
        state: TrainState,
        network: nn.Module,
        solver: SolverConfig,
        device: torch.device,
        *,
        deferred: bool | None = None,
    ) -> None:
        self.state = state
        self.network = network
        self.solver = solver
        self.device = device
        self.deferred = device.type == "cuda" if deferred is None else deferred
        self._attempt: _Attempt | None = None  # whose gradient is still to be read

    def step(self, batches: Sequence[Batch | ImageBatch], rate: float, *, stop: bool) -> StepResult:
        """Updates the weights with the mean gradient of the batches of all ranks.

        Args:
            batches: This rank's micro-batches.
            rate: Learning rate.
            stop: Whether this rank was asked to stop.

        Raises:
            DivergedError: on all ranks, if a loss on any of them or the gradient is not finite; the
                weights are then those of the previous step. With `deferred`, the gradient is that
                of the previous step, which the message names.
        """
        state = self.state
        set_learning_rate(state.optimizer, rate)
        state.optimizer.zero_grad(set_to_none=True)
        transfer = self._gradients(batches, stop)
        result, broken = transfer.read()
        if self._attempt is not None:
            self._judge(self._attempt, broken)
        image_ids = [image_id for batch in batches for image_id in batch.image_ids]
        number = state.progress.step + 1
        state.scaler.unscale_(state.optimizer)
        norm = gradient_norm(self.network.parameters(), self.solver.clip_grad_norm)
        not_finite = norm.isfinite().logical_not().float().reshape(1)
        attempt = _Attempt(number, rate, transfer, image_ids, not_finite)
        if not all(map(math.isfinite, result.values.values())):
            raise _diverged("loss", attempt)
        self._attempt = attempt
        if not self.deferred:
            self.settle()
        self._update(not_finite)
        if state.average is not None:
            state.average.update(state.model)
        return result

    def settle(self) -> None:
        """Reads whether the last step's gradient was finite; every rank must call it.

        To be called before the weights are saved or evaluated.

        Raises:
            DivergedError: it was not.
        """
        if self._attempt is not None:
            self._judge(self._attempt, bool(self._attempt.broken.item()))

    def _judge(self, attempt: _Attempt, broken: bool) -> None:
        """Raises DivergedError if the gradient of `attempt` is not finite without being scaled."""
        self._attempt = None
        if not broken:
            return
        scaler = self.state.scaler
        if not scaler.is_enabled():
            raise _diverged("gradient", attempt)
        # The scaler skips the update and lowers the scale, until the gradient fits into fp16. If it
        # does not fit without being scaled up, it is not the scale's fault.
        scale = scaler.get_scale() / (scaler.get_backoff_factor() if self.deferred else 1.0)
        if scale <= 1.0:
            raise _diverged("gradient", attempt)
        logger.info(
            "step %d is skipped: its gradient exceeds fp16 at loss scale %g, which is lowered",
            *(attempt.number, scale),
        )

    def _update(self, not_finite: Tensor) -> None:
        """Updates the weights, unless the gradient is not finite."""
        optimizer, scaler = self.state.optimizer, self.state.scaler
        if scaler.is_enabled():
            scaler.step(optimizer)
            scaler.update()
        elif self.deferred:
            step_unless(not_finite, optimizer)
        else:
            optimizer.step()

    def _gradients(self, batches: Sequence[Batch | ImageBatch], stop: bool) -> _Transfer:
        """Runs the forward and backward passes of all micro-batches.

        The transfer of the losses to the host starts before the last backward pass, so that reading
        them does not leave the GPU idle.
        """
        total = None
        for index, batch in enumerate(batches):
            last = index + 1 == len(batches)
            with nullcontext() if last else self._without_sync():
                with precision.autocast(self.solver.amp, self.device):
                    values = self.network(batch.to(self.device))
                shares = {name: value / len(batches) for name, value in values.items()}
                vector = torch.stack([share.detach().float() for share in shares.values()])
                total = vector if total is None else total + vector
                if last:
                    broken = None if self._attempt is None else self._attempt.broken
                    transfer = _Transfer(list(values), total, stop, broken)
                self.state.scaler.scale(total_loss(shares)).backward()
        return transfer

    def _without_sync(self) -> AbstractContextManager[None]:
        if isinstance(self.network, DistributedDataParallel):
            return self.network.no_sync()
        return nullcontext()


def _diverged(what: str, attempt: _Attempt) -> DivergedError:
    """Returns the error about a "loss" or "gradient" that is not finite; a collective call."""
    own = (attempt.transfer.own, attempt.image_ids)
    lines = [
        f"\n  rank {rank}: {_terms(losses)}; images {listing(ids, IMAGES_SHOWN)}"
        for rank, (losses, ids) in enumerate(distributed.all_gather_object(own))
    ]
    return DivergedError(
        f"the {what} of step {attempt.number} is not finite "
        f"at learning rate {attempt.rate:g}:{''.join(lines)}\n"
        "A lower solver.lr, a longer solver.warmup_iters or solver.clip_grad_norm may help."
    )


class _Transfer:
    """Losses and flags, summed over ranks in one message, being copied to the host.

    Args:
        names: The names of the losses.
        values: float32[N], this rank's losses.
        stop: Whether this rank was asked to stop.
        broken: float32[1], 1 if the previous step's gradient is not finite; None: unknown.
    """

    def __init__(
        self, names: Sequence[str], values: Tensor, stop: bool, broken: Tensor | None = None
    ) -> None:
        self.names = names
        self._own = values
        # full() is a kernel; copying a tensor from the host would require synchronisation.
        flag = torch.full((1,), float(stop), device=values.device)
        broken = torch.zeros_like(flag) if broken is None else broken
        total = distributed.all_reduce_sum(torch.cat([values, flag, broken]))
        self._arriving = total.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if values.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    @property
    def own(self) -> dict[str, float]:
        """This rank's values."""
        return dict(zip(self.names, self._own.tolist(), strict=True))

    def read(self) -> tuple[StepResult, bool]:
        """Returns the result, and whether the previous step's gradient was not finite.

        Waits for this message only, not for work that was submitted to the device later.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        *values, stops, broken = self._arriving.tolist()
        ranks = distributed.world_size()
        means = {name: value / ranks for name, value in zip(self.names, values, strict=True)}
        return StepResult(means, stop=stops > 0), broken > 0


def _terms(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
