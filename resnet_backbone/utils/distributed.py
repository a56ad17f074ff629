"""Communication between ranks. All functions also work in a single process.

A rank is one process of a job started by `torchrun`. Objects are pickled when they are sent between
ranks, so the network between them must be trusted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from resnet_backbone.errors import ConfigError, RankError, ResnetBackboneError, StorageError
from resnet_backbone.utils.failures import Failures, is_about_ranks

T = TypeVar("T")

# How long a rank waits for the others: longer than the main rank needs to evaluate COCO, shorter
# than torch's default of half an hour.
TIMEOUT = timedelta(minutes=10)


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins the process group that torchrun describes in the environment, if there is one.

    A rank that fails inside the block tells the others why, so that they end with the same exit
    code instead of a traceback about a connection.

    Args:
        device: The device of this rank; NCCL handles CUDA tensors, Gloo handles CPU tensors.

    Raises:
        ConfigError: WORLD_SIZE is more than one, but the rendezvous is not described.
        RankError: another rank has failed, is gone, or did not come to the rendezvous.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield
        return
    failures = Failures(_join(device), dist.get_rank(), dist.get_world_size())
    try:
        yield
    except BaseException as error:
        reason = failures.explain(error)
        if reason is not None:
            raise reason from None
        failures.tell(error)
        raise
    finally:
        dist.destroy_process_group()


def _join(device: torch.device) -> dist.Store:
    """Joins the process group, and returns the store that its ranks share."""
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
    try:
        store, rank, world_size = next(dist.rendezvous("env://", timeout=TIMEOUT))
        # torchrun's store outlives restarts, and with it the addresses of ranks that are gone.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"resnet_backbone/attempt_{attempt}", store)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT
        )
    except RuntimeError as error:
        if not is_about_ranks(error):
            raise
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RankError(
            f"the {os.environ['WORLD_SIZE']} ranks did not meet at {place}: {error}"
        ) from error
    return store


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


def is_true_anywhere(flag: bool) -> bool:
    """Returns whether `flag` is true on any rank; every rank must call it, and gets the answer."""
    return bool(all_reduce_sum(torch.tensor(float(flag))) > 0)


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
