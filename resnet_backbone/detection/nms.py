"""Non-maximum suppression in many independent groups at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Returns the indices int64[K] of the boxes that remain after suppression in each group.

    Greedy, best score first, like `torchvision.ops.batched_nms`.

    Args:
        boxes: float32[N, 4], xyxy in pixels.
        scores: float32[N].
        groups: int64[N]; boxes of different groups (image, level, class) never suppress each other.
        threshold: IoU above which the box with the lower score is removed.
    """
    if boxes.is_cuda:
        return _nms_by_offset(boxes, scores, groups, threshold)
    order = groups.argsort(stable=True)  # [N]
    counts = torch.unique_consecutive(groups[order], return_counts=True)[1].tolist()
    kept = [m[nms(boxes[m], scores[m], threshold)] for m in order.split(counts)]
    return torch.cat(kept) if kept else order


def _nms_by_offset(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Uses one kernel launch for all groups, by moving each group to a region of its own.

    In float64, because with many groups the offset would use up the precision of float32.
    """
    moved = boxes.double()  # [N, 4]
    extent = moved.max() - moved.min() + 1 if boxes.numel() else 1.0
    return nms(moved + (groups * extent)[:, None], scores.double(), threshold)
