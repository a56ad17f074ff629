"""Top-1 and top-5 errors of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resnet_backbone.errors import DataError
from resnet_backbone.utils import distributed

TOP = 5
CHANCE_MARGIN = 0.9  # how close to the error of guessing an error is explained


class ClassificationEvaluator:
    """Collects probabilities, and computes how often the true class is not among the first.

    Of classes with equal probabilities, the true one counts as the last, since a classifier with
    constant outputs has learned nothing.

    Args:
        class_names: The name of each class.

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
        """Discards everything that was collected."""
        self.per_class, self.explanation, self._found = {}, None, {}

    def process(self, probabilities: Tensor, labels: Tensor, image_ids: Sequence[str]) -> None:
        """Collects the probabilities of some images; each rank passes those of its own images.

        Args:
            probabilities: float[B, K], or logits.
            labels: int64[B], the true classes.
            image_ids: A name for each image; an image that is passed twice counts once.

        Raises:
            DataError: a value is not finite; the message names the image.
        """
        finite = probabilities.isfinite().all(dim=1)
        if not finite.all():
            first = image_ids[int((~finite).nonzero()[0])]
            raise DataError(f"{first}: the classifier's scores are not finite")
        own = probabilities.gather(1, labels[:, None])
        # The true class itself is counted, so ranks start at 1.
        ranks = (probabilities >= own).sum(dim=1)
        for image_id, label, rank in zip(image_ids, labels.tolist(), ranks.tolist(), strict=True):
            self._found[image_id] = (label, rank)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {"classification": {"top1_error", "top5_error", "images"}}; a collective call.

        The errors are fractions of the images of all ranks, the same on every rank. With five
        classes or fewer there is no "top5_error".

        Raises:
            DataError: there were no images.
        """
        found: dict[str, tuple[int, int]] = {}
        for share in distributed.all_gather_object(self._found):
            found |= share
        if not found:
            raise DataError("no validation image could be read, so there is no error rate")
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
        # With very few images, the error may be that high by chance.
        if classes > 1 and images >= classes and error >= 1 - (2 - CHANCE_MARGIN) / classes:
            return (
                f"The error is about that of guessing among {classes} classes "
                f"({1 - 1 / classes:.3f}): the classifier has not learned yet, or its weights do "
                "not belong to these classes or this normalisation."
            )
        return None


def _fraction(wrong: Tensor) -> float:
    return float(wrong.double().mean()) if len(wrong) else float("nan")
