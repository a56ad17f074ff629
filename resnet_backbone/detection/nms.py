"""Non-maximum suppression in many independent groups at once."""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from resnet_backbone.detection.boxes import pairwise_iou

# Pairs of boxes that are compared at a time without the kernel: 256 MiB of float32 each.
_PAIRS = 2**26
_ROUNDS = 4  # between two questions to the device whether it has finished

logger = logging.getLogger(__name__)


def suppress(boxes: Tensor, scores: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Returns bool[G, N], true for the boxes that remain after suppression within each group.

    Greedy: from the highest score to the lowest, a box removes those that overlap it too much, as
    `torchvision.ops.nms` does; of equal scores, the first comes first. Groups (of an image and a
    level or class) never influence each other.

    Args:
        boxes: float32[G, N, 4], xyxy in pixels.
        scores: float32[G, N].
        valid: bool[G, N], false for padding, which neither remains nor removes anything.
        threshold: IoU above which the box with the lower score is removed.
    """
    if not boxes.is_cuda:
        return _one_by_one(boxes, scores, valid, threshold)
    limit = _at_most(threshold)
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranked = boxes.gather(1, order[..., None].expand_as(boxes))  # [G, N, 4], best first
    counts = valid.sum(dim=1)  # [G]
    if _kernel_works(boxes.device):
        from resnet_backbone.detection.nms_kernel import suppress_ranked

        kept = suppress_ranked(ranked, counts, limit)
    else:
        kept = _by_rounds(ranked, counts, limit)
    return torch.zeros_like(valid).scatter_(1, order, kept)


def _one_by_one(boxes: Tensor, scores: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Calls torchvision's operator for each group; the fastest on a CPU."""
    kept = torch.zeros_like(valid)
    for group, count in enumerate(valid.sum(dim=1).tolist()):
        if count:
            own = valid[group].nonzero()[:, 0]
            kept[group, own[nms(boxes[group, own], scores[group, own], threshold)]] = True
    return kept


def _by_rounds(ranked: Tensor, counts: Tensor, threshold: float) -> Tensor:
    """Repeats, for all boxes at once: what remains is what nothing that remains removes.

    The first box is right from the start, and in every round one more; in practice a few rounds do
    for thousands. The host waits for the answer whether another one is needed.

    Args:
        ranked: float32[G, N, 4], in each group the valid boxes first, by descending score.
        counts: int64[G], the number of valid boxes.
        threshold: As in `suppress`.
    """
    groups, count = ranked.shape[:2]
    longest = int(counts.max()) if groups else 0
    kept = torch.arange(count, device=ranked.device) < counts[:, None]  # [G, N]
    at_once = max(1, _PAIRS // max(1, longest) ** 2)
    for start in range(0, groups, at_once):
        part = slice(start, start + at_once)
        boxes, valid = ranked[part, :longest], kept[part, :longest]
        # [g, n, n], whether box i has the higher score than box j and overlaps it too much
        removes = (pairwise_iou(boxes, boxes) > threshold).triu(diagonal=1)
        before, now = None, valid
        while before is None or not torch.equal(before, now):
            for _ in range(_ROUNDS):
                before, now = now, valid & ~(removes & now[:, :, None]).any(dim=1)
        kept[part, :longest] = now
    return kept


def _at_most(threshold: float) -> float:
    """Returns the largest float32 that is not above `threshold`.

    torchvision compares float32 with float64 on a CPU: an IoU of float32(0.3) is above 0.3.
    """
    single = np.float32(threshold)
    return float(single if float(single) <= threshold else np.nextafter(single, np.float32(-1)))


@lru_cache
def _kernel_works(device: torch.device) -> bool:
    """Returns whether the kernel can be compiled and is right; says why not."""
    boxes = torch.tensor([[[0.0, 0.0, 9.0, 9.0], [0.0, 1.0, 9.0, 9.0], [0.0, 8.0, 9.0, 17.0]]])
    try:
        from resnet_backbone.detection.nms_kernel import suppress_ranked

        kept = suppress_ranked(boxes.to(device), torch.tensor([3], device=device), 0.5).tolist()
        if kept != [[True, False, True]]:
            raise RuntimeError(f"it keeps {kept}")
    except Exception as error:  # of whatever kind: it needs Triton, a C compiler, and their caches
        reason = next(iter(str(error).splitlines()), "")
        logger.warning(
            "suppression of overlapping boxes takes a slower way, since its kernel does not work "
            "here: %s: %s",
            *(type(error).__name__, reason),
        )
        return False
    return True
