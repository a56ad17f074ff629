"""What training and testing of classifiers need of images, wherever these are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.labelled.dataset import ClassificationDataset, collate_images
from resnet_backbone.data.labelled.in_memory import InMemoryImages, InMemoryTest, InMemoryTraining
from resnet_backbone.data.loading.loader import (
    BatchLoader,
    EvaluationBatches,
    OnBadSample,
    TrainingBatches,
    make_loader,
)
from resnet_backbone.data.loading.order import TrainingOrder, shares
from resnet_backbone.errors import ConfigError
from resnet_backbone.structures import ImageBatch
from resnet_backbone.utils import distributed

Color: TypeAlias = tuple[int, int, int]  # red, green, blue, 0 to 255


@dataclass(frozen=True)
class Steps:
    """Which batches are wanted.

    Attributes:
        start: The first step.
        batch_size: Images per step over all ranks.
        accumulate: Forward passes that share a step.
    """

    start: int
    batch_size: int
    accumulate: int = 1


class TestBatches(Protocol):
    """A rank's share of the validation images, a known number of batches."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[ImageBatch]: ...


class LabelledImages(Protocol):
    """Training and validation images of one set of classes.

    Attributes:
        class_names: By label.
    """

    class_names: tuple[str, ...]

    def training_batches(self, steps: Steps, device: torch.device) -> Iterator[ImageBatch]:
        """Yields this rank's micro-batches, `accumulate` per step, without end.

        What a step sees is a function of (seed, step) alone. They may be on `device` already.
        """

    def test_batches(self, batch_size: int) -> TestBatches:
        """Returns this rank's share of the validation images, as one crop each."""

    def whole_images(self) -> TestBatches:
        """Returns this rank's share of the validation images, one by one, uncropped."""

    def mean_image(self) -> Tensor:
        """Returns float32[3, H, W], the mean of the training images, 0 to 255."""

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest of each split's names and labels."""

    def skipped(self) -> dict[str, list[str]]:
        """Returns by split a line for every image that this rank has left out."""


class InMemoryData:
    """Images in memory; see `LabelledImages`.

    Args:
        train: Training images.
        val: Validation images.
        seed: Of order and augmentation.
        padding: See `InMemoryTraining`.
        flip: Likewise.
        fill: The padding's colour; None: the mean of the training images.
    """

    def __init__(
        self,
        train: InMemoryImages,
        val: InMemoryImages,
        *,
        seed: int,
        padding: int,
        flip: float,
        fill: Color | None,
    ) -> None:
        self.class_names = train.class_names
        self._train, self._val = train, val
        self._seed, self._padding, self._flip = seed, padding, flip
        self._fill = fill

    def training_batches(self, steps: Steps, device: torch.device) -> Iterator[ImageBatch]:
        """Yields batches that are made on `device`."""
        if self._fill is None:
            fill = self.mean_image().mean(dim=(1, 2)).round()
        else:
            fill = torch.tensor(self._fill)
        training = InMemoryTraining(
            self._train,
            batch_size=steps.batch_size,
            seed=self._seed,
            padding=self._padding,
            flip=self._flip,
            fill=fill,
            device=device,
        )
        return training.shares(
            start_step=steps.start,
            accumulate=steps.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )

    def test_batches(self, batch_size: int) -> InMemoryTest:
        """Returns this rank's share of the validation images, as they are."""
        ranks = distributed.world_size()
        return InMemoryTest(
            self._val, batch_size=batch_size, rank=distributed.rank(), world_size=ranks
        )

    def whole_images(self) -> InMemoryTest:
        """Returns this rank's share of the validation images, one by one."""
        return self.test_batches(1)

    def mean_image(self) -> Tensor:
        """Returns float32[3, H, W], the mean of the training images, 0 to 255."""
        return self._train.mean_image()

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest of each split's pixels and labels."""
        return {"train": self._train.digest(), "val": self._val.digest()}

    def skipped(self) -> dict[str, list[str]]:
        """Returns by split a line for every image that was left out."""
        return {"train": list(self._train.skipped), "val": list(self._val.skipped)}


class FileData:
    """Images that are read and augmented one by one, by worker processes; see `LabelledImages`.

    Args:
        train: Training images.
        val: Validation images, cropped as they are tested.
        whole: The same ones, uncropped.
        seed: Of the order.
        repeats: See `TrainingOrder`.
        workers: Processes per rank.
        on_bad_sample: Whether an unreadable image is an error.
    """

    def __init__(
        self,
        train: ClassificationDataset,
        val: ClassificationDataset,
        whole: ClassificationDataset,
        *,
        seed: int,
        repeats: int,
        workers: int,
        on_bad_sample: OnBadSample,
    ) -> None:
        self.class_names = train.source.class_names
        self._train, self._val, self._whole = train, val, whole
        self._seed, self._repeats = seed, repeats
        self._workers, self._on_bad_sample = workers, on_bad_sample

    def training_batches(self, steps: Steps, device: torch.device) -> Iterator[ImageBatch]:
        """Yields batches on the host."""
        order = TrainingOrder(
            np.zeros(len(self._train), dtype=bool),
            batch_size=steps.batch_size,
            seed=self._seed,
            group=False,
            repeats=self._repeats,
        )
        keys = shares(
            order,
            start_step=steps.start,
            accumulate=steps.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        batches = TrainingBatches(self._train, collate_images, self._seed, self._on_bad_sample)
        return iter(BatchLoader(make_loader(batches, keys, self._workers), self._train.skipped))

    def test_batches(self, batch_size: int) -> TestBatches:
        """Returns this rank's share of the validation images, as one crop each."""
        return self._in_order(self._val, batch_size)

    def whole_images(self) -> TestBatches:
        """Returns this rank's share of the validation images, one by one, uncropped."""
        return self._in_order(self._whole, 1)

    def mean_image(self) -> Tensor:
        """Raises ConfigError: reading all files is tools/compute_mean.py's work."""
        raise ConfigError("model.mean_image auto is for data in memory; see tools/compute_mean.py")

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest of each split's names below its folder, and of its labels."""
        return {"train": _digest(self._train), "val": _digest(self._val)}

    def skipped(self) -> dict[str, list[str]]:
        """Returns by split a line for every image that this rank has left out."""
        val = dict.fromkeys((*self._val.skipped, *self._whole.skipped))
        return {"train": list(self._train.skipped), "val": list(val)}

    def _in_order(self, dataset: ClassificationDataset, batch_size: int) -> BatchLoader[ImageBatch]:
        own = list(range(distributed.rank(), len(dataset), distributed.world_size()))
        keys = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
        batches = EvaluationBatches(dataset, collate_images, 0, self._on_bad_sample)
        return BatchLoader(make_loader(batches, keys, self._workers), dataset.skipped)


def _digest(dataset: ClassificationDataset) -> str:
    """Of the last two parts of each name, so that a dataset may be moved, and of the labels."""
    found = hashlib.sha256()
    for name, label in zip(dataset.source.names, dataset.source.labels, strict=True):
        found.update(f"{'/'.join(Path(name).parts[-2:])}\0{label}\n".encode())
    return found.hexdigest()
