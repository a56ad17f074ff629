"""The images with the most errors, and what is wrong in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_backbone.evaluation.confusion import ObjectMatches
from resnet_backbone.utils.text import listing

NAMES_SHOWN = 3  # of each kind of error


class ImageErrors(NamedTuple):
    """The errors in one image.

    Attributes:
        image: The index of the image, as in `ObjectMatches`.
        weight: The sum of the weights of its errors.
        remark: What is wrong: "1 missed (dog), 1 invented (cat 0.93)".
    """

    image: int
    weight: float
    remark: str


def worst_images(
    matches: ObjectMatches, class_names: Sequence[str], count: int
) -> list[ImageErrors]:
    """Returns the `count` images with the largest errors, worst first; fewer if others are right.

    A missed object weighs 1, a detection of nothing as much as its score, and an object that was
    taken for one of another class both together.
    """
    background = matches.class_count
    weights = (matches.true != background) + matches.scores
    weights[matches.true == matches.predicted] = 0.0
    by_image = np.bincount(matches.images, weights)
    order = np.argsort(-by_image, kind="stable")[:count]
    return [
        ImageErrors(int(image), float(by_image[image]), _remark(matches, int(image), class_names))
        for image in order
        if by_image[image] > 0
    ]


def _remark(matches: ObjectMatches, image: int, class_names: Sequence[str]) -> str:
    background, own = matches.class_count, matches.images == image
    rows = zip(matches.true[own], matches.predicted[own], matches.scores[own], strict=True)
    missed, invented, confused = [], [], []
    for true, predicted, score in rows:
        if predicted == background:
            missed.append(class_names[true])
        elif true == background:
            invented.append(f"{class_names[predicted]} {score:.2f}")
        elif true != predicted:
            confused.append(f"{class_names[true]} as {class_names[predicted]} {score:.2f}")
    kinds = {"missed": missed, "invented": invented, "confused": confused}
    return ", ".join(
        f"{len(found)} {kind} ({listing(found, NAMES_SHOWN)})"
        for kind, found in kinds.items()
        if found
    )
