"""From the configuration to labelled images and their batches: the only module that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from resnet_backbone.config.classification_schema import ImageDataConfig
from resnet_backbone.data.drawn_classes import draw_classes
from resnet_backbone.data.labelled_images import Color, LabelledImages, ResidentData
from resnet_backbone.data.resident import ResidentImages, hold_out
from resnet_backbone.data.resident_sources import read_cifar, read_class_folders


def build_images(cfg: ImageDataConfig, *, seed: int, fill: Color | None) -> LabelledImages:
    """Returns the training and validation images that `cfg` describes.

    Args:
        cfg: Where they are and how they become batches.
        seed: Of the order, of the augmentation, and of what is held out.
        fill: The colour of what is outside of an image; None: the training images' mean.

    Raises:
        DataError: they cannot be read, or the splits do not fit each other.
    """
    train, val = load_resident(cfg, seed=seed)
    return ResidentData(train, val, seed=seed, padding=cfg.padding, flip=cfg.flip, fill=fill)


def load_resident(cfg: ImageDataConfig, *, seed: int) -> tuple[ResidentImages, ResidentImages]:
    """Returns the training and the validation images of data that is held in memory.

    Args:
        cfg: Where they lie.
        seed: Draws which images are held out, where `cfg.hold_out` says so.

    Raises:
        DataError: they cannot be read, or the splits do not fit each other.
    """
    train = _read(cfg, "train")
    if cfg.hold_out:
        return hold_out(train, cfg.hold_out, seed)
    return train, _read(cfg, "val", train.class_names)


def _read(
    cfg: ImageDataConfig, split: Literal["train", "val"], classes: Sequence[str] | None = None
) -> ResidentImages:
    root = Path(cfg.root)
    if cfg.format == "shapes":
        drawn = cfg.drawn
        count = drawn.train_images if split == "train" else drawn.val_images
        return draw_classes(count, split, side=drawn.image_size, seed=drawn.seed)
    if cfg.format == "resident":
        return read_class_folders(
            [root / source for source in (cfg.train if split == "train" else cfg.val)],
            class_names=classes,
            on_bad_sample=cfg.on_bad_sample,
            max_pixels=cfg.max_pixels,
        )
    return read_cifar(root, split, 10 if cfg.format == "cifar10" else 100)
