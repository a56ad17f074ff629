"""Explains an AP that is zero or undefined."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from resnet_backbone.utils.text import listing

# Tables show three decimals, so a smaller AP is shown as zero.
READS_AS_ZERO = 5e-4
NAMES_SHOWN = 10


def explain(
    ap: Mapping[str, float], truth: Counter[str], predicted: Counter[str], highest_score: float
) -> str | None:
    """Explains the APs that are zero or undefined; returns None if there are none.

    Args:
        ap: AP per task.
        truth: Number of instances of each class in the ground truth.
        predicted: Number of predictions of each class.
        highest_score: The highest score of all predictions; any value if there are none.
    """
    if not truth:
        return "AP is undefined: the images contain no instances."
    sentences = []
    if math.isnan(ap.get("segm", 0.0)):
        sentences.append(
            "segm AP is undefined: no instance has an outline; model.mask=false trains and "
            "evaluates boxes only."
        )
    zero = [task for task, value in ap.items() if value < READS_AS_ZERO]
    if zero:
        sentences.append(_about_zero(zero, truth, predicted, highest_score))
    return " ".join(sentences) or None


def _about_zero(
    zero: Sequence[str], truth: Counter[str], predicted: Counter[str], highest_score: float
) -> str:
    total = sum(predicted.values())
    subject = f"{' and '.join(zero)} AP is zero"
    if not total:
        return f"{subject}: there are no predictions, because no score is above the threshold."
    fit = "mask" if zero == ["segm"] else "box"
    reason = (
        f"{subject}: of {total} predictions (highest score {highest_score:.3f}), hardly any has a"
        f" {fit} with an IoU of 0.5 or more with an instance of its class."
    )
    return " ".join([reason, *_class_differences(truth, predicted)])


def _class_differences(truth: Counter[str], predicted: Counter[str]) -> list[str]:
    missing, invented = truth.keys() - predicted.keys(), predicted.keys() - truth.keys()
    sentences = []
    if missing:
        sentences.append(f"Never predicted: {listing(sorted(missing), NAMES_SHOWN)}.")
    if invented:
        sentences.append(
            f"Predicted, but not in the ground truth: {listing(sorted(invented), NAMES_SHOWN)}."
        )
    return sentences
