"""What the region proposal network's and the heads' losses share."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.utils import distributed


def box_regression_loss(
    offsets: Tensor,
    anchors: Tensor,
    targets: Tensor,
    positive: Tensor,
    weights: box_ops.Weights,
) -> Tensor:
    """Returns the summed L1 distance of predicted offsets to the true ones, over positives.

    L1 rather than smooth L1 is detectron2's default (smooth_l1_beta 0).

    Args:
        offsets: [..., 4], predicted.
        anchors: float32[..., 4], what the offsets are relative to.
        targets: float32[..., 4], the ground-truth boxes.
        positive: bool[...]; other entries may hold anything, NaN apart, in anchors and targets.
        weights: As in `boxes.encode`.
    """
    keep = positive[..., None]
    # Padding has no size, so its logarithm is infinite and infinity times a mask of 0 is NaN:
    # put some box there before encoding instead of masking after.
    unit = anchors.new_tensor((0.0, 0.0, 1.0, 1.0))
    truth = box_ops.encode(
        torch.where(keep, targets, unit), torch.where(keep, anchors, unit), weights
    )
    return ((offsets.float() - truth).abs() * keep).sum()


def mean_over_ranks(counts: Tensor) -> Tensor:
    """Returns float32 counts averaged over all ranks, at least 1 where all are 0.

    Dividing each rank's summed loss by this makes the mean over ranks, which data parallelism
    takes, equal to the loss of one process on the whole batch, though ranks found unequally many.
    """
    total = distributed.all_reduce_sum(counts.float().detach().clone())
    return total.clamp(min=1.0) / distributed.world_size()
