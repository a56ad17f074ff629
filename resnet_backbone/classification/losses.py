"""Classification losses. The targets are labels, or class probabilities after mixup or CutMix."""

from __future__ import annotations

import torch
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
    scores = _at_least_float32(scores)
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
    scores = _at_least_float32(scores)
    soft = soft_targets(scores, targets, label_smoothing)
    return F.binary_cross_entropy_with_logits(scores, soft)


def soft_targets(scores: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Returns float32[B, K] or float64: smoothed labels; or `targets`, if they are probabilities.

    Never in half precision, in which 1 - s + s / K is rounded by up to 2^-9 (bfloat16), so that
    rows would not sum to 1.
    """
    if targets.ndim == 2:
        return targets
    share = label_smoothing / scores.shape[1]
    rows = torch.full_like(_at_least_float32(scores), share)  # [B, K]
    return rows.scatter_(1, targets[:, None], 1.0 - label_smoothing + share)


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
