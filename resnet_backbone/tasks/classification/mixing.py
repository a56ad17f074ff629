"""Mixup and CutMix of whole batches, by timm, as a function of the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from resnet_backbone.errors import ConfigError
from resnet_backbone.structures import ImageBatch


class Mixing:
    """Mixes each image with its opposite in the batch, and their labels likewise.

    One of Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) per batch, either with probability
    1/2 where both are asked for; timm.data.Mixup does it. Its draws come from NumPy's global
    generator, which is set for the call to what (seed, number, rank) say and put back afterwards:
    a resumed run mixes what it would have mixed.

    Args:
        mixup: Alpha of Mixup's Beta distribution; 0 is off.
        cutmix: Likewise of CutMix.
        num_classes: K.
        label_smoothing: See `cross_entropy`; mixed targets are smoothed here.
        seed: The run's.

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
        """Returns float32 images from 0 to 255 and targets float32[B, K].

        Args:
            batch: uint8 or float images, an even number of them.
            number: Which batch of the run it is.
            rank: Of this process; ranks mix differently.

        Raises:
            ConfigError: the number of images is odd.
        """
        if len(batch) % 2:
            raise ConfigError(
                f"data.mixup and data.cutmix pair the images of a pass, which has {len(batch)}; "
                "choose an even number for each rank (solver.batch_size, solver.accumulate)"
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
