"""What classifiers minimise; each takes labels, or rows of targets where labels were mixed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(scores: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Returns the mean of -sum(targets * log softmax(scores)).

    Args:
        scores: float[B, K].
        targets: Labels int64[B], or float[B, K] with rows of sum 1, which are taken as they are.
        label_smoothing: The share of every label that is spread evenly over all classes (Szegedy
            et al. 2016, section 7).
    """
    return F.cross_entropy(scores, soft_targets(scores, targets, label_smoothing))


def binary_cross_entropy(
    scores: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Returns the mean over images and classes of one binary cross-entropy per class.

    ResNet strikes back, section 2.2: every class is a question of its own, answered by a sigmoid.
    The mean, not the sum, over classes is timm's BinaryCrossEntropy, which its learning rates are
    for.

    Args:
        scores: float[B, K].
        targets: As in `cross_entropy`.
        label_smoothing: Likewise.
    """
    soft = soft_targets(scores, targets, label_smoothing)
    return F.binary_cross_entropy_with_logits(scores, soft)


def soft_targets(scores: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Returns float[B, K]: smoothed labels, or `targets` themselves where they are rows."""
    if targets.ndim == 2:
        return targets
    share = label_smoothing / scores.shape[1]
    rows = scores.new_full(scores.shape, share)
    return rows.scatter_(1, targets[:, None], 1.0 - label_smoothing + share)
