"""Why an AP is zero: the question users ask most and peers leave unanswered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from resnet_backbone.utils.text import listing

# Tables show three decimals, so a smaller AP reads as zero.
READS_AS_ZERO = 5e-4
NAMES_SHOWN = 10


def explain(
    ap: Mapping[str, float], truth: Counter[str], predicted: Counter[str], highest_score: float
) -> str | None:
    """Returns a sentence or a few about the APs that are zero or undefined, None if none is.

    Args:
        ap: AP per task.
        truth: Instances of each class in the ground truth.
        predicted: Predictions of each class.
        highest_score: Of all predictions; anything where there are none.
    """
    zero = [task for task, value in ap.items() if value < READS_AS_ZERO]
    if not truth:
        return "AP is undefined: the images judged hold no instance to find."
    if not zero:
        return None
    total = sum(predicted.values())
    subject = f"{' and '.join(zero)} AP is zero"
    if not total:
        return f"{subject}: there are no predictions, because no score is above the threshold."
    fit = "mask" if zero == ["segm"] else "box"
    reason = (
        f"{subject}: of {total} predictions, the best with score {highest_score:.3f}, hardly any"
        f" has a {fit} that overlaps an instance of its class by half."
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
