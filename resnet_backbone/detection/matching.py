"""Matches anchors or proposals to ground-truth boxes, and samples them for the loss.

All tensors have fixed shapes, with masks for padding, so that no step needs a host synchronisation
to learn a count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Matches:
    """The result of matching N boxes of each image.

    Attributes:
        labels: int8[B, N]; 1 foreground, 0 background, -1 ignored.
        targets: int64[B, N], index of the ground-truth box with the highest IoU.
    """

    labels: Tensor
    targets: Tensor


@dataclass(frozen=True)
class SampledIndices:
    """S of the N boxes of each image; foreground comes first.

    Attributes:
        indices: int64[B, S], indices into the N boxes.
        positive: bool[B, S], true for foreground.
        valid: bool[B, S]; false where an image has fewer candidates than S.
    """

    indices: Tensor
    positive: Tensor
    valid: Tensor


def match(
    blocks: Iterable[Tensor], valid: Tensor, *, low: float, high: float, keep_best: bool = False
) -> Matches:
    """Labels boxes by their highest IoU with a ground-truth box.

    Args:
        blocks: The IoU float32[B, G, N] in blocks [B, g, N] of some objects each, see
            `iou_in_blocks`; at least one. Rows of padding are overwritten.
        valid: bool[B, G], true for ground truth, false for padding.
        low: A box with a lower IoU is background.
        high: A box with at least this IoU is foreground; between the two it is ignored.
        keep_best: Also make the boxes with the highest IoU of each ground-truth box foreground,
            however low it is, so that every object has one (Faster R-CNN, section 3.1.2, condition
            i).
    """
    done, found = 0, None
    for iou in blocks:
        iou.masked_fill_(~valid[:, done : done + iou.shape[1], None], -1.0)
        part = _Best(*iou.max(dim=1), _best_of_an_object(iou) if keep_best else None)
        found = part if found is None else found.joined(part, done)
        done += iou.shape[1]
        del iou  # before the next block is computed
    if found is None:
        raise ValueError("there are no blocks")
    labels = torch.full_like(found.iou, -1, dtype=torch.int8)
    labels.masked_fill_(found.iou < low, 0).masked_fill_(found.iou >= high, 1)
    if found.kept is not None:
        labels.masked_fill_(found.kept, 1)
    return Matches(labels, found.targets)


@dataclass(frozen=True)
class _Best:
    """What is known of N boxes of each image after some of the objects.

    Attributes:
        iou: float32[B, N], the highest IoU with an object.
        targets: int64[B, N], index of the first object that has it.
        kept: bool[B, N], whether no box has a higher IoU with one of the objects; None: not asked.
    """

    iou: Tensor
    targets: Tensor
    kept: Tensor | None

    def joined(self, later: _Best, start: int) -> _Best:
        """Returns what is known after the objects from `start` on as well."""
        higher = later.iou > self.iou  # where equal, the first object is the target
        kept = None
        if self.kept is not None and later.kept is not None:
            kept = self.kept | later.kept
        return _Best(
            torch.where(higher, later.iou, self.iou),
            torch.where(higher, later.targets + start, self.targets),
            kept,
        )


def _best_of_an_object(iou: Tensor) -> Tensor:
    """Returns bool[B, N], the boxes with the highest IoU of one of the objects [B, g, N]."""
    best_for_object = iou.amax(dim=2, keepdim=True)  # [B, g, 1]
    # Otherwise an object that overlaps no box would make all boxes foreground.
    best_for_object.masked_fill_(best_for_object <= 0, torch.inf)
    return (iou == best_for_object).any(dim=1)


def sample(
    labels: Tensor, order: Tensor, *, count: int, positive_fraction: float
) -> SampledIndices:
    """Samples up to `count` boxes of each image, at most `positive_fraction * count` foreground.

    Background fills the remaining slots (detectron2/modeling/sampling.py).

    Args:
        labels: int8[B, N], as in `Matches`.
        order: int32[B, N], non-negative random numbers; the largest ones are sampled.
        count: Boxes per image.
        positive_fraction: Maximum fraction of foreground, in [0, 1].
    """
    candidates = labels.shape[1]
    # The quota is a fraction of the requested count, even if there are fewer candidates.
    quota = min(int(count * positive_fraction), candidates)
    count = min(count, candidates)  # S
    # [B, quota] and [B, S]: order and index of the sampled boxes, order -1 where there are too few.
    # At least one column, since `gather` below needs one.
    positive_order, positives = torch.where(labels == 1, order, -1).topk(max(1, quota))
    negative_order, negatives = torch.where(labels == 0, order, -1).topk(count)
    found = (positive_order >= 0).sum(dim=1, keepdim=True).clamp(max=quota)  # [B, 1]
    # Slot s holds positive number s if s < found, otherwise negative number s - found.
    slot = torch.arange(count, device=labels.device).expand_as(negatives)  # [B, S]
    from_negatives = (slot - found).clamp(min=0)  # [B, S]
    positive = slot < found  # [B, S]
    indices = torch.where(
        positive,
        positives.gather(1, slot.clamp(max=positives.shape[1] - 1)),
        negatives.gather(1, from_negatives),
    )
    valid = positive | (negative_order.gather(1, from_negatives) >= 0)
    return SampledIndices(indices, positive, valid)


def random_order(keys: Tensor, count: int, stream: int) -> Tensor:
    """Returns int32[B, count] random numbers in [0, 2^31) that depend only on the arguments.

    A counter-based generator (the finaliser of splitmix64, Steele et al. 2014) instead of a
    stateful one. The numbers for an image depend only on the image's key, so that sampling does not
    depend on the number of ranks or on resuming, and the device's generator need not be saved.

    Args:
        keys: int64[B], one per image.
        count: Random numbers per image.
        stream: Distinguishes independent uses of the same key.
    """
    # The key is scrambled before counting, since otherwise the numbers of key 1 would be those of
    # key 0 shifted by one. Constants above 2^63 are written as the negative int64 they wrap to.
    start = _scramble(keys * -0x61C8864680B583EB + stream * 0x632BE59BD9B4E019)[:, None]  # [B, 1]
    counter = torch.arange(count, device=keys.device)  # [count]
    return _shift_right(_scramble(start + counter * -0x61C8864680B583EB), 33).to(torch.int32)


def gather_rows(values: Tensor, indices: Tensor) -> Tensor:
    """Returns [B, K, C], the rows `indices` [B, K] of each image's `values` [B, N, C]."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift; torch's `>>` is arithmetic and keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
