"""Builds COCO-format datasets and their loaders from the configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.annotations import Annotations, load_annotations
from resnet_backbone.data.coco.batch import collate_samples
from resnet_backbone.data.coco.check_images import UNCHECKED, check_images, nothing_left
from resnet_backbone.data.coco.dataset import Augmentation, CocoDataset
from resnet_backbone.data.coco.image_files import check_folder
from resnet_backbone.data.loading.folders import check_all
from resnet_backbone.data.loading.loader import (
    BatchLoader,
    EvaluationBatches,
    TrainingBatches,
    make_loader,
)
from resnet_backbone.data.loading.order import TrainingOrder, shares
from resnet_backbone.data.shapes import Paths, ShapesSettings, draw_dataset
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.structures import Batch
from resnet_backbone.utils import distributed
from resnet_backbone.utils.json_files import check_exists
from resnet_backbone.utils.text import count_of, listing

Split = Literal["train", "val"]

logger = logging.getLogger(__name__)


def check_coco_files(cfg: DataConfig, splits: Sequence[Split] = ("train", "val")) -> None:
    """Raises DataError if an annotation file or an image folder does not exist; reads neither."""
    if cfg.shapes is not None:
        return  # they are drawn if they are missing
    root = Path(cfg.root)
    paths = [cfg.train if split == "train" else cfg.val for split in splits]
    checks = [partial(check_exists, root / path.annotations) for path in paths]
    checks += [partial(check_folder, root / path.images) for path in paths]
    check_all(checks)


def build_dataset(
    cfg: DataConfig,
    split: Split,
    *,
    with_masks: bool,
    seed: int,
    annotated: bool = True,
) -> CocoDataset:
    """Returns one split, with validated annotations.

    Args:
        cfg: The configuration's section `data`.
        split: "train" leaves out images without boxes unless `cfg.keep_empty`; "val" keeps them.
        with_masks: Whether samples have masks.
        seed: The seed for augmentation.
        annotated: Whether the file needs a list of annotations.

    Every rank must call it; the main rank reads the headers of the images.

    Raises:
        DataError: the annotation file has defects (the message lists them together), images cannot
            be used, or there is nothing to train on.
    """
    paths = cfg.train if split == "train" else cfg.val
    root = Path(cfg.root)
    file, folder = root / paths.annotations, root / paths.images
    annotations = load_annotations(
        file,
        folder,
        with_masks=with_masks,
        skip_bad_samples=cfg.on_bad_sample == "skip",
        annotated=annotated,
        exif=cfg.exif,
        max_pixels=cfg.max_pixels,
    )
    selected, empty = _select(annotations, paths.limit, split == "val" or cfg.keep_empty)
    if split == "train":
        _require_instances(file, annotations, selected, paths.limit, with_masks)
        _warn_of_unused_classes(file, annotations)
    elif annotations.crowd.all():  # also where there is nothing
        reasons = nothing_left(annotations, with_masks)
        logger.warning("%s: no image has an instance to evaluate by%s", file, reasons)
    dataset = CocoDataset(
        file,
        folder,
        annotations,
        selected,
        with_masks=with_masks,
        augmentation=Augmentation(cfg.min_sizes, cfg.max_size, cfg.flip),
        test_size=(cfg.test_min_size, cfg.test_max_size),
        seed=seed,
        exif=cfg.exif,
        max_pixels=cfg.max_pixels,
    )
    logger.info(
        "%s: %s, %s; %s without boxes %s",
        file,
        count_of(len(dataset), "image"),
        count_of(len(dataset.class_names), "class", "classes"),
        count_of(empty, "image"),
        "kept" if split == "val" or cfg.keep_empty else "left out",
    )
    for line in annotations.report.lines():
        logger.warning(line)
    _take_headers(dataset, file, folder, cfg)
    return dataset


def _require_instances(
    file: Path,
    annotations: Annotations,
    selected: Sequence[int],
    limit: int | None,
    with_masks: bool,
) -> None:
    """Raises DataError if none of the `selected` images has an instance to train on."""
    if any(len(annotations.instances(number)) for number in selected):
        return
    what = f"{file}: no image has an instance to train on"
    if annotations.trainable.any():
        raise DataError(f"{what} among the first {limit}; raise data.train.limit")
    raise DataError(what + nothing_left(annotations, with_masks))


def _warn_of_unused_classes(file: Path, annotations: Annotations) -> None:
    names = annotations.class_names
    used = set(annotations.classes[annotations.trainable].tolist())
    unused = [name for number, name in enumerate(names) if number not in used]
    if unused:
        logger.warning(
            "%s: %d of %s without an instance to train on: %s",
            *(file, len(unused), count_of(len(names), "class", "classes"), listing(unused)),
        )


def _take_headers(dataset: CocoDataset, file: Path, folder: Path, cfg: DataConfig) -> None:
    """Reads the headers of the images, on the main rank, and stores what they tell in `dataset`."""
    checked = UNCHECKED
    if cfg.check_images:
        check = partial(
            check_images,
            exif=cfg.exif,
            max_pixels=cfg.max_pixels,
            skip=cfg.on_bad_sample == "skip",
            bit_depth=cfg.bit_depth,
        )
        checked = distributed.on_main(lambda: check(file, folder, dataset.images))
    for line in checked.notes:
        logger.warning("%s: %s", file, line)
    dataset.skipped += checked.skipped
    dataset.bit_depth = checked.bit_depth if cfg.bit_depth == "auto" else cfg.bit_depth


def build_train_loader(
    cfg: DataConfig,
    dataset: CocoDataset,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    accumulate: int = 1,
    rank: int = 0,
    world_size: int = 1,
    size_divisor: int = 1,
) -> BatchLoader[Batch]:
    """Returns an endless loader of one rank's micro-batches, `accumulate` of them per step.

    Args:
        cfg: The configuration's section `data`.
        dataset: The training split.
        batch_size: Images per step, over all ranks and micro-batches.
        seed: The seed for shuffling.
        start_step: The first step to load; skipping the steps before it costs nothing.
        accumulate: Micro-batches per step.
        rank: This process's rank.
        world_size: Number of ranks.
        size_divisor: See `collate_samples`.

    Raises:
        ConfigError: the batch cannot be divided evenly.
    """
    parts = world_size * accumulate
    if batch_size % parts:
        raise ConfigError(
            f"solver.batch_size is {batch_size}, expected a multiple of {parts}:"
            f" {count_of(world_size, 'rank')} x"
            f" {count_of(accumulate, 'micro-batch', 'micro-batches')}"
        )
    order = TrainingOrder(
        dataset.landscape, batch_size=batch_size, seed=seed, group=cfg.aspect_grouping
    )
    keys = shares(
        order, start_step=start_step, accumulate=accumulate, rank=rank, world_size=world_size
    )
    collate = partial(collate_samples, size_divisor=size_divisor)
    batches = TrainingBatches(dataset, collate, seed, cfg.on_bad_sample)
    return BatchLoader(make_loader(batches, keys, cfg.workers), dataset.skipped)


def build_test_loader(
    cfg: DataConfig,
    dataset: CocoDataset,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    size_divisor: int = 1,
) -> BatchLoader[Batch]:
    """Returns a loader of the images `dataset.image_ids[rank::world_size]` with their targets.

    The arguments are those of `build_train_loader`.
    """
    own = list(range(rank, len(dataset), world_size))
    keys = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    collate = partial(collate_samples, size_divisor=size_divisor)
    batches = EvaluationBatches(dataset, collate, 0, cfg.on_bad_sample)
    return BatchLoader(make_loader(batches, keys, cfg.workers), dataset.skipped)


def draw_shapes_dataset(cfg: DataConfig) -> None:
    """Draws the dataset that `cfg.shapes` describes below `cfg.root`, unless it already exists.

    Raises:
        ConfigError: `cfg.shapes` is not set.
        DataError: the folder contains files that this function did not draw.
    """
    if cfg.shapes is None:
        raise ConfigError("data.shapes is not set, so there is no dataset to draw")
    settings = ShapesSettings(**cfg.shapes.model_dump())
    splits = {
        "train": Paths(cfg.train.images, cfg.train.annotations),
        "val": Paths(cfg.val.images, cfg.val.annotations),
    }
    draw_dataset(Path(cfg.root), splits, settings)


def _select(annotations: Annotations, limit: int | None, keep_empty: bool) -> tuple[list[int], int]:
    """Returns the indices of the images to use, and the number of images without boxes.

    That is how many of them are used or, if they are left out, how many there are in the file.
    """
    filled = np.array(
        [len(annotations.instances(n)) > 0 for n in range(len(annotations.images))], dtype=bool
    )
    usable = (np.arange(len(filled)) if keep_empty else np.flatnonzero(filled))[:limit]
    counted = filled[usable] if keep_empty else filled
    return usable.tolist(), int((~counted).sum())
