"""Classification losses. The targets are labels, or class probabilities after mixup or CutMix."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(scores: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Returns the mean over images of -sum(targets * log softmax(scores)).

    Args:
        scores: float[B, K], logits.
        targets: Labels int64[B], or class probabilities float[B, K], which are not smoothed.
        label_smoothing: Fraction of each label that is distributed evenly over all classes (Szegedy
            et al. 2016, section 7).
    """
    return F.cross_entropy(scores, soft_targets(scores, targets, label_smoothing))


def binary_cross_entropy(
    scores: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Returns the mean over images and classes of one binary cross-entropy per class.

    ResNet strikes back, section 2.2: each class is a binary problem with a sigmoid. This takes the
    mean over classes, not the sum, like timm's BinaryCrossEntropy, for which the published learning
    rates were chosen.

    Args:
        scores: float[B, K], logits.
        targets: Labels int64[B], or class probabilities float[B, K], which are not smoothed.
        label_smoothing: Fraction of each label that is distributed evenly over all classes.
    """
    soft = soft_targets(scores, targets, label_smoothing)
    return F.binary_cross_entropy_with_logits(scores, soft)


def soft_targets(scores: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Returns float[B, K]: smoothed labels; or `targets`, if they are class probabilities."""
    if targets.ndim == 2:
        return targets
    share = label_smoothing / scores.shape[1]
    rows = scores.new_full(scores.shape, share)  # [B, K]
    return rows.scatter_(1, targets[:, None], 1.0 - label_smoothing + share)
