"""Reads labelled image files, augments them and collates them into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.labelled.crops import RegionCrop, Transform
from resnet_backbone.data.loading.decoding import MAX_PIXELS, BitDepth
from resnet_backbone.data.loading.jpeg import EncodedImage
from resnet_backbone.structures import ImageBatch
from resnet_backbone.utils.text import count_of


class Source(Protocol):
    """Encoded images with their labels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""

    @property
    def names(self) -> Sequence[str]:
        """A name for each image, for messages."""

    @property
    def labels(self) -> Sequence[int]:
        """The label of each image."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Returns the content of an image file."""

    def open(self, index: int) -> BinaryIO:
        """Returns an image file, to read its header."""


class Subset:
    """Some of the images of a source.

    Args:
        source: The source.
        indices: int64[n], indices of the images to use.
    """

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self.class_names = source.class_names
        self.names = [source.names[index] for index in indices]
        self.labels = [source.labels[index] for index in indices]
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Returns the content of an image file."""
        return self._source.read(int(self._indices[index]))

    def open(self, index: int) -> BinaryIO:
        """Returns an image file, to read its header."""
        return self._source.open(int(self._indices[index]))


@dataclass(frozen=True)
class LabelledImage:
    """One image with its label.

    Attributes:
        image: uint8[3, H, W], RGB.
        label: Class index.
        key: Seeds the model's random draws for this image, see `Sample.key`.
        name: The image's name in messages.
    """

    image: Tensor
    label: int
    key: int
    name: str


class ClassificationDataset:
    """Labelled images; their augmentation depends only on (seed, epoch, position).

    Args:
        source: The encoded images and their labels.
        training: Transforms for training as (first epoch, transforms), in ascending order of epoch
            starting with 0. Each entry applies until the next one's first epoch.
        testing: Transforms for testing; without any, images stay whole.
        seed: The seed for augmentation.
        max_pixels: Images with more pixels are rejected without decoding them.
        bit_depth: The range of channels of more than 8 bits, see `read_image`.

    Attributes:
        skipped: One line per image that was left out, see `BatchLoader`.
    """

    def __init__(
        self,
        source: Source,
        *,
        training: Sequence[tuple[int, Sequence[Transform]]] = ((0, ()),),
        testing: Sequence[Transform] = (),
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
        bit_depth: BitDepth = "auto",
    ) -> None:
        self.source = source
        self.training = tuple(training)
        self.testing = tuple(testing)
        self.seed = seed
        self.max_pixels = max_pixels
        self.bit_depth = bit_depth
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self.source)

    @property
    def description(self) -> str:
        """The dataset's name in messages."""
        return f"{count_of(len(self), 'image')}, such as {self.source.names[0]}"

    def training_sample(self, index: int, epoch: int, position: int) -> LabelledImage:
        """Returns an augmented image.

        Raises:
            DataError: the image cannot be read.
        """
        rng = np.random.default_rng((self.seed, epoch, position))
        key = int(rng.integers(2**63))
        transforms = next(own for first, own in reversed(self.training) if first <= epoch)
        return self._sample(index, transforms, rng, key)

    def test_sample(self, index: int) -> LabelledImage:
        """Returns an image as used for testing.

        Raises:
            DataError: the image cannot be read.
        """
        return self._sample(index, self.testing, np.random.default_rng(index), index)

    def _sample(
        self, index: int, transforms: Sequence[Transform], rng: np.random.Generator, key: int
    ) -> LabelledImage:
        name = self.source.names[index]
        encoded = EncodedImage(
            self.source.read(index), name, max_pixels=self.max_pixels, bit_depth=self.bit_depth
        )
        image = _transformed(encoded, transforms, rng)
        return LabelledImage(image, self.source.labels[index], key, name)


def _transformed(
    encoded: EncodedImage, transforms: Sequence[Transform], rng: np.random.Generator
) -> Tensor:
    """Decodes an image and applies the transforms."""
    if transforms and isinstance(transforms[0], RegionCrop):
        image = _cropped(encoded, transforms[0], rng)
        transforms = transforms[1:]
    else:
        image = encoded.pixels()
    for transform in transforms:
        image = transform(image, rng)
    return image


def _cropped(encoded: EncodedImage, crop: RegionCrop, rng: np.random.Generator) -> Tensor:
    """Decodes and crops an image; rows below the crop need not be decoded."""
    region = crop.region(encoded.height, encoded.width, rng)
    return crop.cut(encoded.pixels(region.top + region.height), region)


def collate_images(samples: Sequence[LabelledImage]) -> ImageBatch:
    """Returns a batch of one or more images, which must have the same size."""
    height, width = samples[0].image.shape[1:]
    # [B, H, W, 3] in memory, which is [B, 3, H, W] in channels_last.
    pixels = torch.empty((len(samples), height, width, 3), dtype=torch.uint8)
    for slot, sample in zip(pixels, samples, strict=True):
        slot.copy_(sample.image.permute(1, 2, 0))
    return ImageBatch(
        images=pixels.permute(0, 3, 1, 2),
        labels=torch.tensor([sample.label for sample in samples]),
        keys=torch.tensor([sample.key for sample in samples]),
        image_ids=[sample.name for sample in samples],
    )
