"""The interface of labelled images for training and testing, for images in memory or in files."""

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
from resnet_backbone.data.loading.decoding import BitDepth
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
    """Which training batches to produce.

    Attributes:
        start: The first step.
        batch_size: Images per step over all ranks.
        accumulate: Micro-batches per step.
    """

    start: int
    batch_size: int
    accumulate: int = 1


class TestBatches(Protocol):
    """One rank's part of the validation images; the number of batches is known."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[ImageBatch]: ...


class LabelledImages(Protocol):
    """Training and validation images with the same classes.

    Attributes:
        class_names: The name of each class.
        bit_depth: The range that is taken for channels of more than 8 bits.
    """

    class_names: tuple[str, ...]
    bit_depth: BitDepth

    def __len__(self) -> int:
        """Returns the number of training images."""

    def class_counts(self) -> np.ndarray:
        """Returns int64[K], the number of training images of each class."""

    def training_batches(self, steps: Steps, device: torch.device) -> Iterator[ImageBatch]:
        """Yields this rank's micro-batches without end, `accumulate` of them per step.

        The batch of a step depends only on (seed, step). It may already be on `device`.
        """

    def test_batches(self, batch_size: int) -> TestBatches:
        """Returns this rank's part of the validation images, one crop of each."""

    def whole_images(self) -> TestBatches:
        """Returns this rank's part of the validation images, uncropped, in batches of one."""

    def mean_image(self) -> Tensor:
        """Returns float32[3, H, W], the mean of the training images, 0 to 255."""

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest of each split, which changes when its images or labels do."""

    def skipped(self) -> dict[str, list[str]]:
        """Returns, by split, one line for each image that this rank left out."""


class InMemoryData:
    """Images in memory, see `LabelledImages`.

    Args:
        train: Training images.
        val: Validation images.
        seed: The seed for shuffling and augmentation.
        padding: Width of the padding before the random crop, in pixels.
        flip: Probability of a horizontal flip.
        fill: RGB colour of the padding; None uses the mean of the training images.
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
        self.class_names, self.bit_depth = train.class_names, train.bit_depth
        self._train, self._val = train, val
        self._seed, self._padding, self._flip = seed, padding, flip
        self._fill = fill

    def __len__(self) -> int:
        return len(self._train)

    def class_counts(self) -> np.ndarray:
        """Returns int64[K], the number of training images of each class."""
        return np.bincount(self._train.labels.numpy(), minlength=len(self.class_names))

    def training_batches(self, steps: Steps, device: torch.device) -> Iterator[ImageBatch]:
        """Yields batches that are created on `device`."""
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
        """Returns this rank's part of the validation images, unchanged."""
        ranks = distributed.world_size()
        return InMemoryTest(
            self._val, batch_size=batch_size, rank=distributed.rank(), world_size=ranks
        )

    def whole_images(self) -> InMemoryTest:
        """Returns this rank's part of the validation images, in batches of one."""
        return self.test_batches(1)

    def mean_image(self) -> Tensor:
        """Returns float32[3, H, W], the mean of the training images, 0 to 255."""
        return self._train.mean_image()

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest of each split's pixels and labels."""
        return {"train": self._train.digest(), "val": self._val.digest()}

    def skipped(self) -> dict[str, list[str]]:
        """Returns, by split, one line for each image that was left out."""
        return {"train": list(self._train.skipped), "val": list(self._val.skipped)}


class FileData:
    """Image files, read and augmented one by one in worker processes, see `LabelledImages`.

    Args:
        train: Training images.
        val: Validation images with the test crop.
        whole: The validation images, uncropped.
        seed: The seed for shuffling.
        repeats: Copies of each image per epoch, see `TrainingOrder`.
        workers: Worker processes per rank.
        on_bad_sample: What to do about an image that cannot be read: "error" or "skip".
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
        self.class_names, self.bit_depth = train.source.class_names, train.bit_depth
        self._train, self._val, self._whole = train, val, whole
        self._seed, self._repeats = seed, repeats
        self._workers, self._on_bad_sample = workers, on_bad_sample

    def __len__(self) -> int:
        return len(self._train)

    def class_counts(self) -> np.ndarray:
        """Returns int64[K], the number of training images of each class."""
        return np.bincount(self._train.source.labels, minlength=len(self.class_names))

    def training_batches(self, steps: Steps, device: torch.device) -> Iterator[ImageBatch]:
        """Yields batches in CPU memory."""
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
        """Returns this rank's part of the validation images, one crop of each."""
        return self._in_order(self._val, batch_size)

    def whole_images(self) -> TestBatches:
        """Returns this rank's part of the validation images, uncropped, in batches of one."""
        return self._in_order(self._whole, 1)

    def mean_image(self) -> Tensor:
        """Raises ConfigError, since computing the mean of all files takes tools/compute_mean.py."""
        raise ConfigError(
            "model.mean_image is auto, which needs images in memory; compute a file with "
            "tools/compute_mean.py and name it here"
        )

    def fingerprint(self) -> dict[str, str]:
        """Returns a digest of each split's labels and file names relative to the split's folder."""
        return {"train": _digest(self._train), "val": _digest(self._val)}

    def skipped(self) -> dict[str, list[str]]:
        """Returns, by split, one line for each image that this rank left out."""
        val = dict.fromkeys((*self._val.skipped, *self._whole.skipped))
        return {"train": list(self._train.skipped), "val": list(val)}

    def _in_order(self, dataset: ClassificationDataset, batch_size: int) -> BatchLoader[ImageBatch]:
        own = list(range(distributed.rank(), len(dataset), distributed.world_size()))
        keys = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
        batches = EvaluationBatches(dataset, collate_images, 0, self._on_bad_sample)
        return BatchLoader(make_loader(batches, keys, self._workers), dataset.skipped)


def _digest(dataset: ClassificationDataset) -> str:
    """Digest of labels and of the last two parts of each path, so that a dataset may be moved."""
    found = hashlib.sha256()
    for name, label in zip(dataset.source.names, dataset.source.labels, strict=True):
        found.update(f"{'/'.join(Path(name).parts[-2:])}\0{label}\n".encode())
    return found.hexdigest()
