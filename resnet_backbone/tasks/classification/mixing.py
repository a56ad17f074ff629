"""Mixup and CutMix of whole batches with timm, depending only on seed and step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from resnet_backbone.errors import ConfigError
from resnet_backbone.structures import ImageBatch


class Mixing:
    """Mixes each image and its label with those of its opposite in the batch.

    Each batch gets either mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019), with probability
    1/2 each if both are enabled. timm.data.Mixup does the mixing. It draws from NumPy's global
    generator, which is seeded for the call with (seed, number, rank) and restored afterwards, so
    that a resumed run mixes exactly as it would have without the interruption.

    Args:
        mixup: Alpha of mixup's Beta distribution; 0 disables it.
        cutmix: Alpha of CutMix's Beta distribution; 0 disables it.
        num_classes: Number of classes K.
        label_smoothing: Fraction of each label that is distributed evenly over all classes.
        seed: The run's seed.

    Raises:
        ConfigError: timm is not installed.
    """

    def __init__(
        self, mixup: float, cutmix: float, num_classes: int, *, label_smoothing: float, seed: int
    ) -> None:
        try:
            from timm.data import Mixup
        except ImportError:
            raise ConfigError(
                "data.mixup and data.cutmix need timm: pip install 'resnet-backbone[timm]'"
            ) from None
        self.seed = seed
        self._mixup = Mixup(
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            label_smoothing=label_smoothing,
            num_classes=num_classes,
        )

    def __call__(self, batch: ImageBatch, number: int, rank: int = 0) -> ImageBatch:
        """Returns the mixed batch: float32 images, 0 to 255, and targets float32[B, K].

        Args:
            batch: An even number of images, uint8 or float, on the device that is to mix them.
            number: Index of the batch in the run.
            rank: This process's rank; each rank mixes differently.

        Raises:
            ConfigError: the number of images is odd.
        """
        if len(batch) % 2:
            raise ConfigError(
                f"data.mixup and data.cutmix need an even number of images per rank and "
                f"micro-batch, got {len(batch)}; change solver.batch_size or solver.accumulate"
            )
        images = batch.images.float()
        if images is batch.images:
            images = images.clone()  # timm mixes in place
        with _numpy_seeded(self.seed, number, rank):
            mixed, targets = self._mixup(images, batch.labels)
        return replace(batch, images=mixed, targets=targets)


@contextmanager
def _numpy_seeded(*key: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(np.random.SeedSequence(key).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(state)
