"""What the losses of the RPN and of the RoI heads have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.utils import distributed
from resnet_backbone.utils.constants import constant


def box_regression_loss(
    offsets: Tensor,
    anchors: Tensor,
    targets: Tensor,
    positive: Tensor,
    weights: box_ops.Weights,
) -> Tensor:
    """Returns the L1 distance of predicted and true box deltas, summed over the positives, 0-dim.

    L1 rather than smooth L1 is detectron2's default (smooth_l1_beta 0).

    Args:
        offsets: float[..., 4], predicted box deltas.
        anchors: float32[..., 4], the boxes that the deltas refer to.
        targets: float32[..., 4], the ground-truth boxes.
        positive: bool[...]; at other entries, anchors and targets may hold any values but NaN.
        weights: Factors of the box deltas, as in `boxes.encode`.
    """
    keep = positive[..., None]  # [..., 1]
    # Padding has size 0, whose logarithm is infinite, and infinity times 0 would be NaN. So padding
    # is replaced by a unit box before encoding, instead of being masked afterwards.
    unit = constant((0.0, 0.0, 1.0, 1.0), anchors.device, anchors.dtype)
    truth = box_ops.encode(  # [..., 4]
        torch.where(keep, targets, unit), torch.where(keep, anchors, unit), weights
    )
    return ((offsets.float() - truth).abs() * keep).sum()


def mean_over_ranks(counts: Tensor) -> Tensor:
    """Returns float32 counts averaged over all ranks; a total of 0 counts as 1.

    Data parallelism averages the ranks' gradients. If each rank divides its summed loss by this
    value, the average equals the loss of a single process on the whole batch, even if the ranks
    have different counts.
    """
    total = distributed.all_reduce_sum(counts.float().detach().clone())
    return total.clamp(min=1.0) / distributed.world_size()
