"""Synthetic images of one shape each, for pretraining without a download.

They are cut from scenes like those that `data.shapes` draws for the detector, at the same scale, so
that the features are useful for it. The scenes themselves differ from the detector's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.data.shapes import CATEGORIES, ShapesSettings, draw_image

SCENE_SIDE = 128
_STREAMS = {"train": 2, "val": 3}  # 0 and 1 are used for the detector's images


def draw_classes(
    count: int, split: Literal["train", "val"], *, side: int, seed: int
) -> InMemoryImages:
    """Returns `count` images uint8[3, side, side], each with one shape, labelled by its kind.

    Args:
        count: Number of images.
        split: The split; each has its own random numbers.
        side: Side of the images in pixels, at most `SCENE_SIDE`.
        seed: The seed for drawing.
    """
    settings = ShapesSettings(
        train_images=0,
        val_images=0,
        image_size=SCENE_SIDE,
        max_shapes=5,
        empty_fraction=0,
        seed=seed,
    )
    labels = {category: label for label, category in enumerate(CATEGORIES)}
    images: list[np.ndarray] = []
    classes: list[int] = []
    scene = 0
    while len(images) < count:
        rng = np.random.default_rng((seed, _STREAMS[split], scene))
        picture, instances = draw_image(rng, settings)
        pixels = np.asarray(picture)
        for instance in instances[: count - len(images)]:
            images.append(_around(pixels, instance["bbox"], side, rng))
            classes.append(labels[instance["category_id"]])
        scene += 1
    return InMemoryImages(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        labels=torch.tensor(classes),
        names=[f"drawn {split} {number}" for number in range(count)],
        class_names=tuple(CATEGORIES.values()),
    )


def _around(pixels: np.ndarray, box: list[int], side: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a square around the box's centre, randomly shifted but inside the picture."""
    x, y, width, height = box
    shift = rng.integers(-side // 8, side // 8 + 1, 2)
    left, top = (
        int(np.clip(first + extent // 2 - side // 2 + moved, 0, SCENE_SIDE - side))
        for first, extent, moved in ((x, width, shift[0]), (y, height, shift[1]))
    )
    return pixels[top : top + side, left : left + side]
