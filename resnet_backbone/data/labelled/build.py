"""Builds labelled images and their batches from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from resnet_backbone.config.classification_schema import ImageDataConfig
from resnet_backbone.data.labelled.auto_augment import RandomErase, make_auto_augment
from resnet_backbone.data.labelled.check_headers import check_headers
from resnet_backbone.data.labelled.color import PCAColor
from resnet_backbone.data.labelled.crops import (
    CentreCrop,
    RandomFlip,
    RandomResizedCrop,
    ScaleJitterCrop,
    Transform,
)
from resnet_backbone.data.labelled.dataset import ClassificationDataset, Source, Subset
from resnet_backbone.data.labelled.drawn_classes import draw_classes
from resnet_backbone.data.labelled.image_folder import (
    ImageFolder,
    check_class_folders,
    check_labels,
)
from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.data.labelled.in_memory_sources import (
    check_cifar_folder,
    check_folder_or_zip,
    read_cifar,
    read_class_folders,
)
from resnet_backbone.data.labelled.labelled_images import (
    Color,
    FileData,
    InMemoryData,
    LabelledImages,
)
from resnet_backbone.data.labelled.shards import Shards, check_shard, shard_files
from resnet_backbone.data.labelled.splits import held_out, hold_out
from resnet_backbone.data.loading.decoding import BitDepth
from resnet_backbone.data.loading.folders import check_all
from resnet_backbone.data.loading.shared_images import warn_of_shared_images
from resnet_backbone.errors import DataError
from resnet_backbone.utils import distributed

Split = Literal["train", "val"]

_CIFAR: dict[str, Literal[10, 100]] = {"cifar10": 10, "cifar100": 100}


def build_images(
    cfg: ImageDataConfig, *, batch_size: int, seed: int, fill: Color | None, to_train: bool = True
) -> LabelledImages:
    """Returns the training and validation images that `cfg` describes.

    Args:
        cfg: The configuration's section `data`.
        batch_size: Images per step over all ranks; converts steps to epochs.
        seed: The seed for shuffling, for augmentation, and for the held-out images.
        fill: RGB colour of padding; None uses the mean of the training images.
        to_train: Whether training images are needed. Where not, they are looked at only if the
            validation images are held out of them; else the validation images are in their place,
            and say which classes there are.

    Raises:
        DataError: the images cannot be read, or the splits do not have the same classes.
        ConfigError: an augmentation is invalid.
    """
    if cfg.in_memory:
        train, val = _load_resident(cfg, seed, to_train=to_train)
        if to_train:
            _check_classes(train.class_names, cfg)
        return InMemoryData(train, val, seed=seed, padding=cfg.padding, flip=cfg.flip, fill=fill)
    sources = _find_files(cfg, seed, to_train=to_train)
    if to_train:
        _check_classes(sources[0].class_names, cfg)
        warn_of_shared_images(sources[0].names, sources[1].names, f"data.val={','.join(cfg.val)}")
    epoch = max(1, len(sources[0]) // batch_size)
    stages = [(step // epoch, size) for step, size in cfg.progressive]
    if not stages or stages[0][0] > 0:
        stages.insert(0, (0, cfg.size))
    training = [(first, _training(cfg, size, fill or (0, 0, 0))) for first, size in stages]
    centre = CentreCrop(cfg.test_resize, cfg.test_size, cfg.interpolation)
    depth = _bit_depth(cfg, sources if to_train else sources[1:])
    dataset = partial(ClassificationDataset, seed=seed, max_pixels=cfg.max_pixels, bit_depth=depth)
    return FileData(
        dataset(sources[0], training=training),
        dataset(sources[1], testing=(centre,)),
        dataset(sources[1]),
        seed=seed,
        repeats=cfg.repeats,
        workers=cfg.workers,
        on_bad_sample=cfg.on_bad_sample,
    )


def validation_images(cfg: ImageDataConfig) -> str:
    """Returns what the validation images are called in results."""
    if cfg.hold_out:
        return f"{cfg.root}: {cfg.hold_out} images held out of the training images"
    if cfg.format in _CIFAR or cfg.format == "shapes":
        return f"{cfg.root}: the test images of {cfg.format}"
    return ", ".join(str(Path(cfg.root) / name) for name in cfg.val)


def check_labelled_files(cfg: ImageDataConfig, *, to_train: bool = True) -> None:
    """Raises DataError if folders or files of images do not exist; reads none of them.

    CIFAR's own files are not looked for, only their folder.

    Args:
        cfg: The configuration's section `data`.
        to_train: As for `build_images`.
    """
    root = Path(cfg.root)
    names = [] if cfg.hold_out else [*cfg.val]
    if to_train or cfg.hold_out:
        names = [*cfg.train, *names]
    checks: list[Callable[[], None]] = []
    if cfg.format == "folders":
        checks += [partial(check_class_folders, root / name) for name in names]
    elif cfg.format == "resident":
        checks += [partial(check_folder_or_zip, root / name) for name in names]
    elif cfg.format == "shards":
        checks += [partial(check_shard, file) for file in shard_files(root, names)]
    elif cfg.format != "shapes":
        checks.append(partial(check_cifar_folder, root, _CIFAR[cfg.format]))
    if (labels := _labels(cfg, "val")) is not None:
        checks.append(partial(check_labels, labels))
    check_all(checks)


def training_images(cfg: ImageDataConfig) -> ClassificationDataset:
    """Returns centre crops of side `cfg.size` of all training images, to compute their mean.

    Raises:
        DataError: the images cannot be found.
    """
    centre = CentreCrop(max(cfg.size, cfg.test_resize), cfg.size, cfg.interpolation)
    source = _files(cfg, "train")
    depth = _bit_depth(cfg, [source])
    return ClassificationDataset(
        source, testing=(centre,), max_pixels=cfg.max_pixels, bit_depth=depth
    )


def _check_classes(names: Sequence[str], cfg: ImageDataConfig) -> None:
    if len(names) < 2:
        raise DataError(
            f"{cfg.root}: found only one class, {', '.join(names)}; data.root must hold the folders"
            " of data.train and data.val, and each of these must hold one folder per class"
        )


def _bit_depth(cfg: ImageDataConfig, sources: Sequence[Source]) -> BitDepth:
    """Checks the headers of the images, on the main rank; returns the depth of those of 16 bits."""
    if not cfg.check_images:  # without the headers, the range of their type
        return 16 if cfg.bit_depth == "auto" else cfg.bit_depth
    check = partial(
        check_headers,
        max_pixels=cfg.max_pixels,
        skip=cfg.on_bad_sample == "skip",
        bit_depth=cfg.bit_depth,
    )
    return distributed.on_main(lambda: check(sources))


def _training(cfg: ImageDataConfig, size: int, fill: Color) -> list[Transform]:
    """Returns the augmentation of training images, in the order in which timm applies it."""
    crop: Transform
    if cfg.crop == "scale_jitter":
        crop = ScaleJitterCrop(size, cfg.short_side, interpolation=cfg.interpolation)
    else:
        crop = RandomResizedCrop(size, cfg.area, cfg.ratio, interpolation=cfg.interpolation)
    transforms: list[Transform] = [crop, RandomFlip(cfg.flip)]
    if cfg.auto_augment is not None:
        transforms.append(make_auto_augment(cfg.auto_augment, size=size, fill=fill))
    if cfg.pca_color:
        transforms.append(PCAColor(cfg.pca_color))
    if cfg.random_erase:
        transforms.append(RandomErase(cfg.random_erase, fill))
    return transforms


def _find_files(cfg: ImageDataConfig, seed: int, *, to_train: bool) -> tuple[Source, Source]:
    if not to_train and not cfg.hold_out:
        val = _files(cfg, "val")
        return val, val
    train = _files(cfg, "train")
    if not cfg.hold_out:
        return train, _files(cfg, "val", train.class_names)
    kept, held = held_out(len(train), cfg.hold_out, seed)
    return Subset(train, kept), Subset(train, held)


def _files(cfg: ImageDataConfig, split: Split, classes: Sequence[str] | None = None) -> Source:
    root, names = Path(cfg.root), cfg.train if split == "train" else cfg.val
    if cfg.format == "shards":
        return Shards(root, names, class_names=classes)
    return ImageFolder(
        [root / name for name in names], class_names=classes, labels=_labels(cfg, split)
    )


def _labels(cfg: ImageDataConfig, split: Split) -> Path | None:
    """Returns the file with the labels of a split of folders; None if they have none."""
    used = cfg.format == "folders" and split == "val" and not cfg.hold_out
    return Path(cfg.root) / cfg.val_labels if used and cfg.val_labels is not None else None


def _load_resident(
    cfg: ImageDataConfig, seed: int, *, to_train: bool
) -> tuple[InMemoryImages, InMemoryImages]:
    if not to_train and not cfg.hold_out:
        val = _read(cfg, "val")
        return val, val
    train = _read(cfg, "train")
    if cfg.hold_out:
        return hold_out(train, cfg.hold_out, seed)
    # Validation takes 16-bit images as training does.
    as_train = cfg.model_copy(update={"bit_depth": train.bit_depth})
    return train, _read(as_train, "val", train.class_names)


def _read(
    cfg: ImageDataConfig, split: Split, classes: Sequence[str] | None = None
) -> InMemoryImages:
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
            bit_depth=cfg.bit_depth,
        )
    return read_cifar(root, split, _CIFAR[cfg.format])
