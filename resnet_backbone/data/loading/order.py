"""Which image stands where: a pure function of (seed, epoch, position), so nothing needs saving."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SampleRef:
    """One sample of a run: image `index` at `position` of `epoch`."""

    index: int
    epoch: int
    position: int


class TrainingOrder:
    """The global batches of a run, step by step.

    An epoch is a random permutation, dealt into batches of one orientation, so that little is
    padded; what remains of both orientations makes mixed batches, and what remains then, fewer
    images than a batch, sits this epoch out. A dataset smaller than a batch is repeated to fill it.

    Args:
        landscape: bool[N]: which images are wider than high.
        batch_size: Images per step over all ranks.
        seed: Of the permutations.
        group: Whether to deal by orientation.
        repeats: How often an image stands in its epoch, one after the other, so that a batch has
            several augmentations of it (repeated augmentation, Hoffer et al. 2020); an epoch then
            has as many steps as ever, and a part of the images. Not together with `group`.
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
        self.batch_size = batch_size
        self.seed = seed
        self.repeats = repeats
        self._landscape = landscape if group else np.zeros_like(landscape)
        self._cached: tuple[int, np.ndarray] = (-1, np.empty(0))

    @property
    def steps_per_epoch(self) -> int:
        """Batches that an epoch makes, at least 1."""
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
        """Returns int64[steps_per_epoch, batch_size], indices of images."""
        rng = np.random.default_rng((self.seed, epoch))
        images = rng.permutation(len(self._landscape))
        images = np.repeat(images, self.repeats)[: len(images)]
        if len(images) < self.batch_size:
            images = np.resize(images, self.batch_size)  # repeats them in order
        wide = self._landscape[images]
        groups = (images[wide], images[~wide])
        whole = [len(group) // self.batch_size * self.batch_size for group in groups]
        batches = np.concatenate(
            [
                group[:end].reshape(-1, self.batch_size)
                for group, end in zip(groups, whole, strict=True)
            ]
        )
        rest = np.concatenate([group[end:] for group, end in zip(groups, whole, strict=True)])
        mixed = len(rest) // self.batch_size
        rest = rest[: mixed * self.batch_size].reshape(-1, self.batch_size)
        # Shuffled, or all batches of one orientation would come first.
        return rng.permutation(np.concatenate((batches, rest)))


def shares(
    order: TrainingOrder, *, start_step: int, accumulate: int, rank: int, world_size: int
) -> Iterator[list[SampleRef]]:
    """Yields one rank's micro-batches, `accumulate` per step, without end."""
    share = order.batch_size // world_size
    micro = share // accumulate
    step = start_step
    while True:
        own = order.batch(step)[rank * share : (rank + 1) * share]
        for part in range(accumulate):
            yield own[part * micro : (part + 1) * micro]
        step += 1
