"""Shared memory in which loader processes hand batches over, and which they use again.

A batch of images is some ten megabytes. DataLoader takes new shared memory for every tensor, of
which the kernel first fills each page with zeros, and sends its file descriptor through a socket:
together 0.15 of the time that it takes to read JPEG files. Here a loader process has a few slots.
It writes into one that is free, and sends where in it the tensors are; the slot itself is sent only
the first time. It is free again when the last tensor that lies in it is gone.
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

_ALIGNMENT = 64  # bytes; the first so many of a slot hold whether it is lent


@dataclass(frozen=True)
class Segment:
    """Where in a slot a tensor is.

    Attributes:
        offset: In bytes.
        dtype: Of the tensor.
        shape: Likewise.
        stride: Likewise; without gaps.
    """

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def within(self, slot: Tensor) -> Tensor:
        """Returns the tensor, which shares the slot's memory."""
        rest = slot[self.offset :]
        count = torch.Size(self.shape).numel() * self.dtype.itemsize
        return rest[:count].view(self.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Lent:
    """A slot on its way to who reads it.

    Attributes:
        number: Which of its owner's slots.
        memory: uint8[size], the slot itself, where it has not been sent before.
        segments: Of the batch's tensors, in the order of `map_tensors`.
    """

    number: int
    memory: Tensor | None
    segments: tuple[Segment, ...]


class Lender:
    """The slots of a loader process.

    There are as many as batches are on their way or in use at the same time.
    """

    def __init__(self) -> None:
        self._slots: list[Tensor] = []

    def lend(self, batch: B) -> tuple[B, Lent]:
        """Returns the batch with empty tensors, and the slot that theirs have been written into.

        Raises:
            DataError: shared memory is full.
        """
        tensors: list[Tensor] = []

        def take_out(tensor: Tensor) -> Tensor:
            tensors.append(_without_gaps(tensor))
            return torch.empty(0)  # is sent without shared memory

        hollow = batch.map_tensors(take_out)
        segments, size = _segments(tensors)
        number, is_new = self._free_slot(size)
        slot = self._slots[number]
        for segment, tensor in zip(segments, tensors, strict=True):
            segment.within(slot).copy_(tensor)
        slot[0] = True
        return hollow, Lent(number, slot if is_new else None, segments)

    def _free_slot(self, size: int) -> tuple[int, bool]:
        """Returns the number of a slot that is not lent, and whether it is a new one."""
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


_known: dict[tuple[int, int], Tensor] = {}  # slots of other processes, by owner and number


def borrow(hollow: B, lent: Lent, owner: int) -> B:
    """Returns the batch that was lent; the slot is given back when none of its tensors is left.

    Args:
        hollow: The batch without its tensors.
        lent: Where they are.
        owner: Number of the loader process.
    """
    key = owner, lent.number
    if lent.memory is not None:
        _known[key] = lent.memory
    slot = _known[key]
    # Tensors and views of them share the array, and end with the last of them.
    array = slot.numpy()
    # By numpy, as a tensor that came in inference mode must not be written to outside of it.
    is_lent = slot[:1].numpy()
    weakref.finalize(array, is_lent.__setitem__, 0, False).atexit = False
    memory, segments = torch.from_numpy(array), iter(lent.segments)
    return hollow.map_tensors(lambda _: next(segments).within(memory))


def forget(owners: Iterable[int]) -> None:
    """Lets go of the slots of loader processes that have ended."""
    gone = set(owners)
    for key in [key for key in _known if key[0] in gone]:
        del _known[key]


def _new_slot(size: int) -> Tensor:
    try:
        return torch.zeros(size, dtype=torch.uint8).share_memory_()
    except RuntimeError as error:
        raise DataError(
            f"no shared memory is left for a batch of {size / 2**20:.0f} MiB; each of the "
            "data.workers needs about four times as much: have fewer of them, or give it more "
            f"(docker run --shm-size=...): {error}"
        ) from error


def _without_gaps(tensor: Tensor) -> Tensor:
    dense = tensor.is_contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else False
    return tensor if dense else tensor.contiguous()


def _segments(tensors: Iterable[Tensor]) -> tuple[tuple[Segment, ...], int]:
    """Returns where tensors are in a slot, one behind the other, and where the last one ends."""
    segments, offset = [], _ALIGNMENT
    for tensor in tensors:
        segments.append(Segment(offset, tensor.dtype, tuple(tensor.shape), tensor.stride()))
        offset += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    return tuple(segments), offset
