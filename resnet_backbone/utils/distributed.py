"""Communication between ranks. All functions also work in a single process.

A rank is one process of a job started by `torchrun`. Objects are pickled when they are sent between
ranks, so the network between them must be trusted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from resnet_backbone.errors import ConfigError, ResnetBackboneError, StorageError

T = TypeVar("T")

# How long a rank waits for the others: longer than the main rank needs to evaluate COCO, shorter
# than torch's default of half an hour.
TIMEOUT = timedelta(minutes=10)


def init_from_env(device: torch.device) -> None:
    """Joins the process group that torchrun describes in the environment, if there is one.

    Args:
        device: The device of this rank; NCCL handles CUDA tensors, Gloo handles CPU tensors.

    Raises:
        ConfigError: WORLD_SIZE is more than one, but the rendezvous is not described.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    missing = [key for key in ("RANK", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set; "
            "start several ranks with torchrun"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Gloo in addition to NCCL avoids sending the host's objects and flags through the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)


def shutdown() -> None:
    """Leaves the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Returns this process's rank, counted from 0; also before the group is joined."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Returns this process's rank on its machine, which is also the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Returns the number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Returns whether this is rank 0, which writes files and logs."""
    return rank() == 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sums `tensor` over all ranks in place, and returns it."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def broadcast_tensor(tensor: Tensor) -> None:
    """Overwrites `tensor` with the main rank's values."""
    if dist.is_initialized():
        dist.broadcast(tensor, src=0)


def all_gather_object(value: T) -> list[T]:
    """Returns on every rank the picklable `value` of all ranks, ordered by rank."""
    if not dist.is_initialized():
        return [value]
    gathered: list[T | None] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]


def broadcast_object(value: T) -> T:
    """Returns on every rank the main rank's picklable `value`."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def on_main(action: Callable[[], T]) -> T:
    """Calls `action` on the main rank only, and returns its result on every rank.

    Raises:
        ResnetBackboneError: `action` raised it; every rank raises it, so that none waits for ever.
        StorageError: `action` raised an OSError; every rank raises this instead.
    """
    outcome: tuple[T | None, ResnetBackboneError | None] = (None, None)
    if is_main():
        try:
            outcome = (action(), None)
        except ResnetBackboneError as error:
            outcome = (None, error)
        except OSError as error:
            outcome = (None, StorageError(str(error)))
    result, failure = broadcast_object(outcome)
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]
