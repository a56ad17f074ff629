"""Reusable shared memory through which worker processes pass batches to the main process.

A batch of images has some ten megabytes. For every tensor, DataLoader allocates new shared memory,
whose pages the kernel zeroes first, and sends a file descriptor through a socket. Together this
costs 0.15 of the time that reading JPEG files takes. Here a worker has a few slots. It writes a
batch into a free slot and sends the offsets of its tensors; the slot itself is sent only the first
time. The slot is free again when the last tensor in it has been deleted.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from resnet_backbone.errors import DataError
from resnet_backbone.structures import Batch, ImageBatch

B = TypeVar("B", Batch, ImageBatch)

_ALIGNMENT = 64  # bytes; this many bytes at the start of a slot hold the flag "is lent"


@dataclass(frozen=True)
class Segment:
    """The location of a tensor in a slot.

    Attributes:
        offset: Offset in bytes.
        dtype: The tensor's dtype.
        shape: The tensor's shape.
        stride: The tensor's strides; the tensor is dense.
    """

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def within(self, slot: Tensor) -> Tensor:
        """Returns the tensor as a view of the slot's memory."""
        rest = slot[self.offset :]
        count = torch.Size(self.shape).numel() * self.dtype.itemsize
        return rest[:count].view(self.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Lent:
    """A slot that is being sent to the main process.

    Attributes:
        number: The slot's index in its worker.
        memory: uint8[size], the slot itself, if it has not been sent before.
        segments: Locations of the batch's tensors, in the order of `map_tensors`.
    """

    number: int
    memory: Tensor | None
    segments: tuple[Segment, ...]


class Lender:
    """The slots of one worker process.

    Their number is the largest number of batches in transit or in use at the same time.
    """

    def __init__(self) -> None:
        self._slots: list[Tensor] = []

    def lend(self, batch: B) -> tuple[B, Lent]:
        """Writes a batch into a slot; returns the batch with empty tensors, and the slot.

        Raises:
            DataError: there is not enough shared memory.
        """
        tensors: list[Tensor] = []

        def take_out(tensor: Tensor) -> Tensor:
            tensors.append(_without_gaps(tensor))
            return torch.empty(0)  # sent without shared memory

        hollow = batch.map_tensors(take_out)
        segments, size = _segments(tensors)
        number, is_new = self._free_slot(size)
        slot = self._slots[number]
        for segment, tensor in zip(segments, tensors, strict=True):
            segment.within(slot).copy_(tensor)
        slot[0] = True
        return hollow, Lent(number, slot if is_new else None, segments)

    def _free_slot(self, size: int) -> tuple[int, bool]:
        """Returns the index of a slot that is not lent, and whether the slot is new."""
        free = [number for number, slot in enumerate(self._slots) if not slot[0]]
        for number in free:
            if len(self._slots[number]) >= size:
                return number, False
        slot = _new_slot(size)
        if free:  # too small
            self._slots[free[0]] = slot
            return free[0], True
        self._slots.append(slot)
        return len(self._slots) - 1, True


_known: dict[tuple[int, int], Tensor] = {}  # slots of other processes, by (owner, number)


def borrow(hollow: B, lent: Lent, owner: int) -> B:
    """Returns the lent batch; its slot is given back when all of its tensors have been deleted.

    Args:
        hollow: The batch with empty tensors.
        lent: The location of its tensors.
        owner: Process id of the worker.
    """
    key = owner, lent.number
    if lent.memory is not None:
        _known[key] = lent.memory
    slot = _known[key]
    # All tensors and their views refer to this array, which is deleted with the last of them.
    array = slot.numpy()
    # Through numpy, because a tensor received in inference mode must not be written to outside it.
    is_lent = slot[:1].numpy()
    weakref.finalize(array, is_lent.__setitem__, 0, False).atexit = False
    memory, segments = torch.from_numpy(array), iter(lent.segments)
    return hollow.map_tensors(lambda _: next(segments).within(memory))


def forget(owners: Iterable[int]) -> None:
    """Releases the slots of worker processes that have ended."""
    gone = set(owners)
    for key in [key for key in _known if key[0] in gone]:
        del _known[key]


def _new_slot(size: int) -> Tensor:
    try:
        return torch.zeros(size, dtype=torch.uint8).share_memory_()
    except RuntimeError as error:
        raise DataError(
            f"not enough shared memory for a batch of {size / 2**20:.0f} MiB; each data loader "
            "worker needs about four times as much; reduce data.workers, or increase shared memory "
            f"(docker run --shm-size=...): {error}"
        ) from error


def _without_gaps(tensor: Tensor) -> Tensor:
    dense = tensor.is_contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else False
    return tensor if dense else tensor.contiguous()


def _segments(tensors: Iterable[Tensor]) -> tuple[tuple[Segment, ...], int]:
    """Returns the location of each tensor in a slot, one after the other, and the total size."""
    segments, offset = [], _ALIGNMENT
    for tensor in tensors:
        segments.append(Segment(offset, tensor.dtype, tuple(tensor.shape), tensor.stride()))
        offset += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    return tuple(segments), offset
