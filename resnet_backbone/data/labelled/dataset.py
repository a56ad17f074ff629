"""From image files to batches of labelled crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.labelled.crops import RegionCrop, Transform
from resnet_backbone.data.loading.jpeg import EncodedImage
from resnet_backbone.structures import ImageBatch


class Source(Protocol):
    """Where the bytes of images come from."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""

    @property
    def names(self) -> Sequence[str]:
        """Of each image, for messages."""

    @property
    def labels(self) -> Sequence[int]:
        """Of each image."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Returns the content of a file."""


class Subset:
    """Some images of a source.

    Args:
        source: All of them.
        indices: Which.
    """

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self.class_names = source.class_names
        self.names = [source.names[index] for index in indices]
        self.labels = [source.labels[index] for index in indices]
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Returns the content of a file."""
        return self._source.read(int(self._indices[index]))


@dataclass(frozen=True)
class LabelledImage:
    """One image.

    Attributes:
        image: uint8[3, H, W], RGB.
        label: Its class.
        key: See `Sample.key`.
        name: What to call it.
    """

    image: Tensor
    label: int
    key: int
    name: str


class ClassificationDataset:
    """Images with one class each, augmented by a function of (seed, epoch, position).

    Args:
        source: The files.
        training: Applied in turn to training images: (first epoch, transforms), epochs ascending
            from 0; the last that has begun holds.
        testing: Applied in turn to test images; none leaves them whole.
        seed: Of the augmentation.
        max_pixels: Larger images are refused unread.

    Attributes:
        skipped: A line per image that was left out, see `BatchLoader`.
    """

    def __init__(
        self,
        source: Source,
        *,
        training: Sequence[tuple[int, Sequence[Transform]]] = ((0, ()),),
        testing: Sequence[Transform] = (),
        seed: int = 0,
        max_pixels: int = 100_000_000,
    ) -> None:
        self.source = source
        self.training = tuple(training)
        self.testing = tuple(testing)
        self.seed = seed
        self.max_pixels = max_pixels
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self.source)

    @property
    def description(self) -> str:
        """What to call the dataset in messages."""
        return f"{len(self)} images beside {self.source.names[0]}"

    def training_sample(self, index: int, epoch: int, position: int) -> LabelledImage:
        """Returns an augmented image.

        Raises:
            DataError: it cannot be read.
        """
        rng = np.random.default_rng((self.seed, epoch, position))
        key = int(rng.integers(2**63))
        transforms = next(own for first, own in reversed(self.training) if first <= epoch)
        return self._sample(index, transforms, rng, key)

    def test_sample(self, index: int) -> LabelledImage:
        """Returns an image as it is tested.

        Raises:
            DataError: it cannot be read.
        """
        return self._sample(index, self.testing, np.random.default_rng(index), index)

    def _sample(
        self, index: int, transforms: Sequence[Transform], rng: np.random.Generator, key: int
    ) -> LabelledImage:
        name = self.source.names[index]
        encoded = EncodedImage(self.source.read(index), name, max_pixels=self.max_pixels)
        image = _transformed(encoded, transforms, rng)
        return LabelledImage(image, self.source.labels[index], key, name)


def _transformed(
    encoded: EncodedImage, transforms: Sequence[Transform], rng: np.random.Generator
) -> Tensor:
    """Returns what transforms make of an image."""
    if transforms and isinstance(transforms[0], RegionCrop):
        image = _cropped(encoded, transforms[0], rng)
        transforms = transforms[1:]
    else:
        image = encoded.pixels()
    for transform in transforms:
        image = transform(image, rng)
    return image


def _cropped(encoded: EncodedImage, crop: RegionCrop, rng: np.random.Generator) -> Tensor:
    """Returns what the crop makes of an image; rows below it need not be decoded."""
    region = crop.region(encoded.height, encoded.width, rng)
    return crop.cut(encoded.pixels(region.top + region.height), region)


def collate_images(samples: Sequence[LabelledImage]) -> ImageBatch:
    """Returns one batch of at least one image, all of one size."""
    height, width = samples[0].image.shape[1:]
    pixels = torch.empty((len(samples), height, width, 3), dtype=torch.uint8)
    for slot, sample in zip(pixels, samples, strict=True):
        slot.copy_(sample.image.permute(1, 2, 0))
    return ImageBatch(
        images=pixels.permute(0, 3, 1, 2),
        labels=torch.tensor([sample.label for sample in samples]),
        keys=torch.tensor([sample.key for sample in samples]),
        image_ids=[sample.name for sample in samples],
    )
