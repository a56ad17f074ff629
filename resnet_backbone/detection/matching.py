"""Which anchor or proposal is responsible for which object, and which of them the loss sees.

Everything here keeps fixed shapes, with masks for what is padding, so that no step ever has to ask
the device how many of something there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Matches:
    """The outcome of matching N boxes of each image.

    Attributes:
        labels: int8[B, N]; 1 foreground, 0 background, -1 ignored.
        targets: int64[B, N], index of the best-overlapping ground-truth box.
    """

    labels: Tensor
    targets: Tensor


@dataclass(frozen=True)
class SampledIndices:
    """S of the N boxes of each image, foreground first.

    Attributes:
        indices: int64[B, S] into the N boxes.
        positive: bool[B, S].
        valid: bool[B, S]; false where an image had fewer candidates than S.
    """

    indices: Tensor
    positive: Tensor
    valid: Tensor


def match(
    iou: Tensor, valid: Tensor, *, low: float, high: float, keep_best: bool = False
) -> Matches:
    """Labels boxes by their best overlap with a ground-truth box.

    Args:
        iou: float32[B, G, N]; overwritten where the ground truth is padding.
        valid: bool[B, G], true where there is an object.
        low: Below this overlap a box is background.
        high: From this overlap on it is foreground; between the two it is ignored.
        keep_best: Also make foreground, for every object, the boxes that overlap it most, however
            little, so that no object goes without (Faster R-CNN, section 3.1.2, condition i).
    """
    iou = iou.masked_fill_(~valid[..., None], -1.0)
    best, targets = iou.max(dim=1)
    labels = torch.full_like(best, -1, dtype=torch.int8)
    labels.masked_fill_(best < low, 0).masked_fill_(best >= high, 1)
    if keep_best:
        best_for_object = iou.amax(dim=2, keepdim=True)
        # An object that overlaps nothing would otherwise claim every box there is.
        best_for_object.masked_fill_(best_for_object <= 0, torch.inf)
        labels.masked_fill_((iou == best_for_object).any(dim=1), 1)
    return Matches(labels, targets)


def sample(
    labels: Tensor, order: Tensor, *, count: int, positive_fraction: float
) -> SampledIndices:
    """Picks up to `count` boxes of each image, `positive_fraction * count` foreground at most.

    Background fills the places that foreground leaves (detectron2/modeling/sampling.py).

    Args:
        labels: int8[B, N] as in `Matches`.
        order: int32[B, N], non-negative; candidates with the largest values are picked.
        count: Boxes per image.
        positive_fraction: In [0, 1].
    """
    candidates = labels.shape[1]
    # The quota is a share of what is asked for, also where there are fewer candidates.
    quota = min(int(count * positive_fraction), candidates)
    count = min(count, candidates)
    # One column at least, so that there is something to gather from.
    positive_order, positives = torch.where(labels == 1, order, -1).topk(max(1, quota))
    negative_order, negatives = torch.where(labels == 0, order, -1).topk(count)
    found = (positive_order >= 0).sum(dim=1, keepdim=True).clamp(max=quota)
    # Slot s holds positive s while there are any, then negative s - found.
    slot = torch.arange(count, device=labels.device).expand_as(negatives)
    from_negatives = (slot - found).clamp(min=0)
    positive = slot < found
    indices = torch.where(
        positive,
        positives.gather(1, slot.clamp(max=positives.shape[1] - 1)),
        negatives.gather(1, from_negatives),
    )
    valid = positive | (negative_order.gather(1, from_negatives) >= 0)
    return SampledIndices(indices, positive, valid)


def random_order(keys: Tensor, count: int, stream: int) -> Tensor:
    """Returns int32[B, count] pseudo-random numbers in [0, 2^31), a pure function of its arguments.

    A counter-based generator (the finaliser of splitmix64, Steele et al. 2014) in place of a
    stateful one: the draw for an image depends on the image's key alone, so runs on one or many
    ranks, fresh or resumed, sample alike, and the device's generator needs no saving.

    Args:
        keys: int64[B], one per image.
        count: Numbers per image.
        stream: Tells independent uses of one key apart.
    """
    # Each key is scrambled before counting starts, or the numbers of key 1 would be those of key 0
    # moved by one. Constants above 2^63 are the negative numbers that int64 wraps them to.
    start = _scramble(keys * -0x61C8864680B583EB + stream * 0x632BE59BD9B4E019)[:, None]
    counter = torch.arange(count, device=keys.device)
    return _shift_right(_scramble(start + counter * -0x61C8864680B583EB), 33).to(torch.int32)


def gather_rows(values: Tensor, indices: Tensor) -> Tensor:
    """Returns [B, K, C], the rows `indices` [B, K] of each image's `values` [B, N, C]."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift; torch's `>>` copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
