"""Holds out some of the training images for validation."""

from __future__ import annotations

import numpy as np

from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.errors import DataError


def hold_out(
    images: InMemoryImages, count: int, seed: int
) -> tuple[InMemoryImages, InMemoryImages]:
    """Returns the images to train on, and `count` random others to validate on, see `held_out`."""
    kept, held = held_out(len(images), count, seed)
    return images.select(kept), images.select(held)


def held_out(total: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the images to train on, and of `count` others, both ascending.

    With 50,000 images and a count of 5,000 this is the paper's 45k/5k split (section 4.2).

    Raises:
        DataError: there are not more than `count` images.
    """
    if count >= total:
        raise DataError(f"data.hold_out is {count}, but there are only {total} training images")
    drawn = np.random.default_rng((seed, count)).permutation(total)
    return np.sort(drawn[count:]), np.sort(drawn[:count])
