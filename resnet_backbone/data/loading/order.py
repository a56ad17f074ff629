"""The order of training images: a function of (seed, epoch, position), so it needs no state."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from resnet_backbone.utils import distributed
from resnet_backbone.utils.text import count_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleRef:
    """One training sample: image `index` at `position` of `epoch`."""

    index: int
    epoch: int
    position: int


def warn_of_repeats(images: int, batch_size: int) -> None:
    """Warns, on the main rank, if a batch is larger than the dataset and so repeats images."""
    if batch_size > images and distributed.is_main():
        logger.warning(
            "solver.batch_size is %d, but the dataset has %s: every step repeats images",
            *(batch_size, count_of(images, "training image")),
        )


class TrainingOrder:
    """The global batches of a run, step by step.

    An epoch is a random permutation. With `group`, batches consist of images of one orientation, so
    that there is little padding; the remaining images of both orientations form mixed batches. Less
    than a batch may then remain, which this epoch leaves out. A dataset smaller than a batch is
    repeated to fill it.

    Args:
        landscape: bool[N], true for images that are wider than high.
        batch_size: Images per step over all ranks.
        seed: The seed for shuffling.
        group: Whether to group images by orientation.
        repeats: Number of copies of each image in a row, so that a batch contains several
            augmentations of it (repeated augmentation, Hoffer et al. 2020). The number of steps per
            epoch does not change, so an epoch uses only some of the images. Not with `group`.
    """

    def __init__(
        self,
        landscape: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        group: bool = True,
        repeats: int = 1,
    ) -> None:
        warn_of_repeats(len(landscape), batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.repeats = repeats
        self._landscape = landscape if group else np.zeros_like(landscape)
        self._cached: tuple[int, np.ndarray] = (-1, np.empty(0))

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch, at least 1."""
        return max(1, len(self._landscape) // self.batch_size)

    def batch(self, step: int) -> list[SampleRef]:
        """Returns the samples of global step `step`, counted from 0."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._cached[0] != epoch:
            self._cached = (epoch, self._deal(epoch))
        first = number * self.batch_size
        return [
            SampleRef(int(index), epoch, first + slot)
            for slot, index in enumerate(self._cached[1][number])
        ]

    def _deal(self, epoch: int) -> np.ndarray:
        """Returns int64[steps_per_epoch, batch_size], the images of each batch of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        images = rng.permutation(len(self._landscape))  # [N]
        images = np.repeat(images, self.repeats)[: len(images)]
        if len(images) < self.batch_size:
            images = np.resize(images, self.batch_size)  # repeats them in order
        wide = self._landscape[images]
        groups = (images[wide], images[~wide])
        whole = [len(group) // self.batch_size * self.batch_size for group in groups]
        batches = np.concatenate(  # [batches of one orientation, batch_size]
            [
                group[:end].reshape(-1, self.batch_size)
                for group, end in zip(groups, whole, strict=True)
            ]
        )
        rest = np.concatenate([group[end:] for group, end in zip(groups, whole, strict=True)])
        mixed = len(rest) // self.batch_size
        rest = rest[: mixed * self.batch_size].reshape(-1, self.batch_size)
        # Shuffled, because otherwise all batches of one orientation would come first.
        return rng.permutation(np.concatenate((batches, rest)))


def shares(
    order: TrainingOrder, *, start_step: int, accumulate: int, rank: int, world_size: int
) -> Iterator[list[SampleRef]]:
    """Yields one rank's micro-batches without end, `accumulate` of them per step."""
    share = order.batch_size // world_size
    micro = share // accumulate
    step = start_step
    while True:
        own = order.batch(step)[rank * share : (rank + 1) * share]
        for part in range(accumulate):
            yield own[part * micro : (part + 1) * micro]
        step += 1
