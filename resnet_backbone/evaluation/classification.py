"""Top-1 and top-5 errors of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resnet_backbone.errors import DataError
from resnet_backbone.utils import distributed

TOP = 5
CHANCE_MARGIN = 0.9  # an error this near to that of guessing needs a word


class ClassificationEvaluator:
    """Collects probabilities, then counts how often the right class is not among the first.

    Where classes have the same probability, the right one counts as the last of them: a classifier
    that says the same of everything has learned nothing.

    Args:
        class_names: By label.

    Attributes:
        per_class: After `evaluate`, {"top1_error": {class name: fraction}}; NaN for a class
            without images.
        explanation: After `evaluate`, why the error is no better than guessing; otherwise None.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self.per_class: dict[str, dict[str, float]] = {}
        self.explanation: str | None = None
        self._found: dict[str, tuple[int, int]] = {}

    def reset(self) -> None:
        """Forgets everything that was collected."""
        self.per_class, self.explanation, self._found = {}, None, {}

    def process(self, probabilities: Tensor, labels: Tensor, image_ids: Sequence[str]) -> None:
        """Collects some images; each rank brings its own.

        Args:
            probabilities: float[B, K], or scores.
            labels: int64[B].
            image_ids: Of each image; one that is brought twice counts once.

        Raises:
            DataError: a number is not finite; names the image.
        """
        finite = probabilities.isfinite().all(dim=1)
        if not finite.all():
            first = image_ids[int((~finite).nonzero()[0])]
            raise DataError(f"{first}: the classifier's scores are not finite")
        own = probabilities.gather(1, labels[:, None])
        # The right class itself is among them, so ranks begin at 1.
        ranks = (probabilities >= own).sum(dim=1)
        for image_id, label, rank in zip(image_ids, labels.tolist(), ranks.tolist(), strict=True):
            self._found[image_id] = (label, rank)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {"classification": {"top1_error", "top5_error", "images"}}, fractions and count.

        Of all ranks, the same on each; every rank must call it. "top5_error" is left out where
        there are no more than five classes.

        Raises:
            DataError: there were no images.
        """
        found: dict[str, tuple[int, int]] = {}
        for share in distributed.all_gather_object(self._found):
            found |= share
        if not found:
            raise DataError("no validation image could be read; without any there is no error rate")
        pairs = torch.tensor(list(found.values()), dtype=torch.int64).reshape(-1, 2)
        labels, ranks = pairs[:, 0], pairs[:, 1]
        errors = {"top1_error": _fraction(ranks > 1)}
        if len(self.class_names) > TOP:
            errors["top5_error"] = _fraction(ranks > TOP)
        by_class = {
            name: _fraction(ranks[labels == label] > 1)
            for label, name in enumerate(self.class_names)
        }
        self.per_class = {"top1_error": by_class}
        self.explanation = self._explain(len(found), errors["top1_error"])
        return {"classification": errors | {"images": float(len(found))}}

    def _explain(self, images: int, error: float) -> str | None:
        classes = len(self.class_names)
        # With few images a lucky or unlucky draw says nothing.
        if classes > 1 and images >= classes and error >= 1 - (2 - CHANCE_MARGIN) / classes:
            return (
                f"The error is about that of guessing among {classes} classes "
                f"({1 - 1 / classes:.3f}): the classifier has not learned yet, or its weights do "
                "not belong to these classes or this normalisation."
            )
        return None


def _fraction(wrong: Tensor) -> float:
    return float(wrong.double().mean()) if len(wrong) else float("nan")
