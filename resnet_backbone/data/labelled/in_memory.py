"""Labelled images that are kept in memory, and cropped and flipped one batch at a time.

This is for images of one small size such as CIFAR's, where reading, decoding and augmenting them
one by one would take longer than training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_backbone.data.loading.decoding import BitDepth
from resnet_backbone.data.loading.order import warn_of_repeats
from resnet_backbone.structures import ImageBatch


@dataclass(frozen=True)
class InMemoryImages:
    """A split in memory.

    Attributes:
        images: uint8[N, 3, H, W], RGB.
        labels: int64[N].
        names: A name for each image, for messages.
        class_names: The name of each class.
        skipped: One line per image that could not be read and was left out.
        bit_depth: The range that was taken for channels of more than 8 bits.
    """

    images: Tensor
    labels: Tensor
    names: Sequence[str]
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    bit_depth: BitDepth = "auto"

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray) -> InMemoryImages:
        """Returns the images with these indices, in this order; `indices` is int64[n]."""
        chosen = torch.from_numpy(indices)
        names = [self.names[index] for index in indices]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], names=names)

    def digest(self) -> str:
        """Returns the SHA-256 digest of pixels and labels."""
        found = hashlib.sha256(self.labels.numpy().tobytes())
        found.update(self.images.contiguous().numpy().data)
        return found.hexdigest()

    def mean_image(self) -> Tensor:
        """Returns float32[3, H, W], the mean over the images, 0 to 255."""
        total = torch.zeros(self.images.shape[1:], dtype=torch.float64)
        for part in self.images.split(4096):
            total += part.sum(dim=0, dtype=torch.int64)
        return (total / len(self)).float()


class InMemoryTraining:
    """Endless random batches. Each epoch is a permutation; images are padded, cropped and flipped.

    The batch of a step depends only on (seed, step), not on the number of ranks. An epoch uses
    every image once. Its last batch is completed with images of the next epoch, since the paper's
    64,000 steps of 128 images are not a whole number of epochs anyway.

    Args:
        split: The images; they are moved to `device` once.
        batch_size: Images per step over all ranks.
        seed: The seed for shuffling and augmentation.
        padding: Width of the padding in pixels, before an image is cropped to its own size again.
            The paper pads with zeros after subtracting the mean; here the padding has the colour
            `fill`, which the mean turns into zeros.
        flip: Probability of a horizontal flip.
        fill: uint8[3], the colour of the padding.
        device: The device on which batches are created.
    """

    def __init__(
        self,
        split: InMemoryImages,
        *,
        batch_size: int,
        seed: int,
        padding: int,
        flip: float,
        fill: Tensor,
        device: torch.device,
    ) -> None:
        warn_of_repeats(len(split), batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.padding = padding
        self.flip = flip
        self.height, self.width = split.images.shape[2:]
        self._names = split.names
        self._labels = split.labels.to(device)
        # [N, H + 2 padding, W + 2 padding, 3]: gathering pixels yields channels_last without a copy
        self._padded = _padded(split.images, padding, fill).permute(0, 2, 3, 1).contiguous()
        self._padded = self._padded.to(device)
        self._epochs: dict[int, _Epoch] = {}

    def batch(self, step: int) -> ImageBatch:
        """Returns the whole global batch of a step, counted from 0."""
        count = len(self._names)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)  # [B]
        epochs = [self._epoch(number) for number in np.unique(positions // count)]
        draws = [epoch.draws(positions % count, positions // count) for epoch in epochs]
        # [B] each: image, first row and first column of its crop, and whether to flip it
        index, top, left, flipped = (np.concatenate(parts) for parts in zip(*draws, strict=True))
        device = self._padded.device
        numbers = torch.from_numpy(np.stack((index, top, left, flipped, positions)))  # [5, B]
        # In one copy, which does not wait for the device.
        chosen, first_row, first_column, mirrored, keys = numbers.to(device, non_blocking=True)
        # rows [B, H] and columns [B, W] of each crop in the padded image
        rows, columns = (
            first[:, None] + torch.arange(side, device=device)
            for first, side in ((first_row, self.height), (first_column, self.width))
        )
        columns = torch.where(mirrored[:, None] > 0, columns.flip(1), columns)  # [B, W]
        # The indices broadcast from [B, 1, 1], [B, H, 1] and [B, 1, W]; images is [B, H, W, 3].
        images = self._padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return ImageBatch(
            images=images.permute(0, 3, 1, 2),
            labels=self._labels[chosen],
            keys=keys,
            image_ids=[self._names[number] for number in index],
        )

    def shares(
        self, *, start_step: int, accumulate: int, rank: int, world_size: int
    ) -> Iterator[ImageBatch]:
        """Yields one rank's micro-batches without end, `accumulate` of them per step."""
        micro = self.batch_size // world_size // accumulate
        step = start_step
        while True:
            batch = self.batch(step)
            for part in range(accumulate):
                yield _slice(batch, (rank * accumulate + part) * micro, micro)
            step += 1

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            self._epochs = {key: e for key, e in self._epochs.items() if key == number - 1}
            self._epochs[number] = _Epoch(int(number), len(self._names), self)
        return self._epochs[number]


class _Epoch:
    """The random numbers of one epoch, all drawn at once."""

    def __init__(self, number: int, count: int, settings: InMemoryTraining) -> None:
        rng = np.random.default_rng((settings.seed, number))
        self.number = number
        self.order = rng.permutation(count)
        self.top, self.left = rng.integers(2 * settings.padding + 1, size=(2, count))
        self.flipped = rng.random(count) < settings.flip

    def draws(self, positions: np.ndarray, epochs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns index, top, left and flip at those of `positions` that are in this epoch."""
        own = positions[epochs == self.number]
        return self.order[own], self.top[own], self.left[own], self.flipped[own]


class InMemoryTest:
    """The images of one rank in order and unchanged, in batches.

    Args:
        split: The images.
        batch_size: Images per batch.
        rank: This process's rank; it takes every `world_size`-th image, starting with this one.
        world_size: Number of ranks.
    """

    def __init__(
        self, split: InMemoryImages, *, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.split = split.select(np.arange(rank, len(split), world_size))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[ImageBatch]:
        whole = ImageBatch(
            images=self.split.images,
            labels=self.split.labels,
            keys=torch.arange(len(self.split)),
            image_ids=self.split.names,
        )
        for start in range(0, len(self.split), self.batch_size):
            batch = _slice(whole, start, self.batch_size)
            channels_last = batch.images.contiguous(memory_format=torch.channels_last)
            yield replace(batch, images=channels_last)


def _padded(images: Tensor, padding: int, fill: Tensor) -> Tensor:
    """Returns uint8[N, 3, H + 2 padding, W + 2 padding]; the padding has the colour `fill`."""
    around = F.pad(images, (padding,) * 4)
    outside = F.pad(torch.zeros(images.shape[2:], dtype=torch.bool), (padding,) * 4, value=True)
    return torch.where(outside, fill[:, None, None].to(torch.uint8), around)


def _slice(batch: ImageBatch, start: int, count: int) -> ImageBatch:
    own = slice(start, start + count)
    return ImageBatch(batch.images[own], batch.labels[own], batch.keys[own], batch.image_ids[own])
