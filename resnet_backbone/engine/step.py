"""One optimizer step on all ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_backbone.config.run_schema import SolverConfig
from resnet_backbone.engine.optimizer import clip_gradients, set_learning_rate
from resnet_backbone.engine.state import TrainState
from resnet_backbone.errors import DivergedError
from resnet_backbone.structures import Batch, ImageBatch
from resnet_backbone.utils import distributed
from resnet_backbone.utils.text import listing

LOSS = "loss"  # prefix of the names of losses
IMAGES_SHOWN = 8  # per rank, in the message about a loss that is not finite

T = TypeVar("T", float, Tensor)

_AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


class Stepper:
    """Performs optimizer steps: forward and backward passes, update, averaging.

    Args:
        state: The training state; every step changes it, except for the step count.
        network: `state.model`, or DDP around it.
        solver: The configuration's section `solver`.
        device: The device that batches are moved to.
    """

    def __init__(
        self, state: TrainState, network: nn.Module, solver: SolverConfig, device: torch.device
    ) -> None:
        self.state = state
        self.network = network
        self.solver = solver
        self.device = device

    def step(self, batches: Sequence[Batch | ImageBatch], rate: float, *, stop: bool) -> StepResult:
        """Updates the weights with the mean gradient of the batches of all ranks.

        Args:
            batches: This rank's micro-batches.
            rate: Learning rate.
            stop: Whether this rank was asked to stop.

        Raises:
            DivergedError: on all ranks, if a loss on any of them is not finite; the weights are
                then those of the previous step.
        """
        state = self.state
        set_learning_rate(state.optimizer, rate)
        state.optimizer.zero_grad(set_to_none=True)
        transfer = self._gradients(batches, stop)
        result = transfer.read()
        if not all(map(math.isfinite, result.values.values())):
            raise self._diverged(transfer.own, batches, rate)
        if self.solver.clip_grad_norm is not None:
            state.scaler.unscale_(state.optimizer)
            clip_gradients(self.network.parameters(), self.solver.clip_grad_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.average is not None:
            state.average.update(state.model)
        return result

    def _gradients(self, batches: Sequence[Batch | ImageBatch], stop: bool) -> _Transfer:
        """Runs the forward and backward passes of all micro-batches.

        The transfer of the losses to the host starts before the last backward pass, so that reading
        them does not leave the GPU idle.
        """
        total = None
        for index, batch in enumerate(batches):
            last = index + 1 == len(batches)
            with nullcontext() if last else self._without_sync():
                with self._autocast():
                    values = self.network(batch.to(self.device))
                shares = {name: value / len(batches) for name, value in values.items()}
                vector = torch.stack([share.detach().float() for share in shares.values()])
                total = vector if total is None else total + vector
                if last:
                    transfer = _Transfer(list(values), total, stop)
                self.state.scaler.scale(total_loss(shares)).backward()
        return transfer

    def _without_sync(self) -> AbstractContextManager[None]:
        if isinstance(self.network, DistributedDataParallel):
            return self.network.no_sync()
        return nullcontext()

    def _autocast(self) -> AbstractContextManager[None]:
        kind = _AMP_TYPES.get(self.solver.amp)
        return nullcontext() if kind is None else torch.autocast(self.device.type, kind)

    def _diverged(
        self, own: Mapping[str, float], batches: Sequence[Batch | ImageBatch], rate: float
    ) -> DivergedError:
        image_ids = [image_id for batch in batches for image_id in batch.image_ids]
        lines = [
            f"\n  rank {rank}: {_terms(losses)}; images {listing(ids, IMAGES_SHOWN)}"
            for rank, (losses, ids) in enumerate(distributed.all_gather_object((own, image_ids)))
        ]
        return DivergedError(
            f"the loss of step {self.state.progress.step + 1} is not finite "
            f"at learning rate {rate:g}:{''.join(lines)}\n"
            "A lower solver.lr, a longer solver.warmup_iters or solver.clip_grad_norm may help."
        )


class _Transfer:
    """Losses and stop flags, summed over ranks in one message, being copied to the host."""

    def __init__(self, names: Sequence[str], values: Tensor, stop: bool) -> None:
        self.names = names
        self._own = values
        # full() is a kernel; copying a tensor from the host would require synchronisation.
        flag = torch.full((1,), float(stop), device=values.device)
        total = distributed.all_reduce_sum(torch.cat([values, flag]))
        self._arriving = total.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if values.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    @property
    def own(self) -> dict[str, float]:
        """This rank's values."""
        return dict(zip(self.names, self._own.tolist(), strict=True))

    def read(self) -> StepResult:
        """Waits for this message only, not for work that was submitted to the device later."""
        if self._arrived is not None:
            self._arrived.synchronize()
        *values, stops = self._arriving.tolist()
        ranks = distributed.world_size()
        means = {name: value / ranks for name, value in zip(self.names, values, strict=True)}
        return StepResult(means, stop=stops > 0)


def _terms(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
