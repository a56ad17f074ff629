"""Ranks and what they tell each other; every function also works in a lone process.

A rank is one process of a job that `torchrun` started. Objects travel pickled between ranks, so the
network they meet on must be trusted.
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

# How long a rank waits for the others: longer than judging COCO on the main rank takes, shorter
# than the half hour after which torch gives up.
TIMEOUT = timedelta(minutes=10)


def init_from_env(device: torch.device) -> None:
    """Joins the group that torchrun describes in the environment; does nothing in a lone process.

    Args:
        device: What this rank computes on; NCCL serves CUDA tensors, Gloo those on the CPU.

    Raises:
        ConfigError: the environment names more than one rank but not how they meet.
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
    # Gloo beside NCCL keeps objects and flags of the host off the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)


def shutdown() -> None:
    """Leaves the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Returns this process's number, from 0 on; also before the group is joined."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Returns the number among the ranks of this machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Returns how many ranks share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Tells whether this is the rank that writes files and logs."""
    return rank() == 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sums `tensor` over the ranks, in place, and returns it."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def broadcast_tensor(tensor: Tensor) -> None:
    """Overwrites `tensor` with the main rank's."""
    if dist.is_initialized():
        dist.broadcast(tensor, src=0)


def all_gather_object(value: T) -> list[T]:
    """Returns every rank's picklable `value`, ordered by rank, on every rank."""
    if not dist.is_initialized():
        return [value]
    gathered: list[T | None] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]


def broadcast_object(value: T) -> T:
    """Returns the main rank's picklable `value` on every rank."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def on_main(action: Callable[[], T]) -> T:
    """Returns what `action` returns on the main rank, the only one that runs it, on every rank.

    Raises:
        ResnetBackboneError: `action` raised one; every rank then raises it, so none waits in vain.
        StorageError: `action` raised an OSError; likewise.
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
