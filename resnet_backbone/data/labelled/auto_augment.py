"""Automatic augmentation by timm and torchvision, seeded by each sample's own generator."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_backbone.data.labelled.crops import Transform
from resnet_backbone.errors import ConfigError

TRIVIAL = "trivial"
ERASED_AREA = (0.02, 1 / 3)  # fraction of the image (Zhong et al. 2020, section 4.1)
ERASED_RATIO = 0.3  # minimum height / width; the maximum is its inverse
TRIES = 10
_NOTATION = re.compile(r"rand(-(m|n|p|inc|mstd|mmax)\d+(\.\d+)?)*")


def make_auto_augment(notation: str, *, size: int, fill: tuple[int, int, int]) -> Transform:
    """Returns TrivialAugmentWide ("trivial") or timm's RandAugment ("rand-m7-mstd0.5-inc1").

    Args:
        notation: "trivial", or RandAugment's parameters in timm's notation.
        size: Side of the images in pixels; RandAugment's translations are proportional to it.
        fill: RGB colour of pixels that rotations and translations leave empty.

    Raises:
        ConfigError: the notation is invalid, or timm is not installed.
    """
    if notation == TRIVIAL:
        return TrivialAugment(fill)
    return RandAugment(notation, size, fill)


class TrivialAugment:
    """torchvision's TrivialAugmentWide (Mueller and Hutter 2021).

    Pixels are interpolated bilinearly, as in torchvision's own recipes.

    Args:
        fill: RGB colour of pixels that rotations and translations leave empty.
    """

    def __init__(self, fill: tuple[int, int, int]) -> None:
        from torchvision.transforms import v2

        self._augment = v2.TrivialAugmentWide(
            interpolation=v2.InterpolationMode.BILINEAR, fill=list(fill)
        )

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns the augmented image, uint8[3, H, W]."""
        with _global_generators(rng):
            augmented: Tensor = self._augment(image)
        return augmented


class RandAugment:
    """timm's RandAugment (Cubuk et al. 2020), which works on Pillow images.

    Args:
        notation: The parameters in timm's notation: "rand-m7-mstd0.5-inc1".
        size: Side of the images in pixels; translations are proportional to it.
        fill: RGB colour of pixels that rotations and translations leave empty.

    Raises:
        ConfigError: the notation is invalid, or timm is not installed.
    """

    def __init__(self, notation: str, size: int, fill: tuple[int, int, int]) -> None:
        try:
            from timm.data.auto_augment import rand_augment_transform
        except ImportError:
            raise ConfigError(
                "data.auto_augment needs timm: pip install 'resnet-backbone[timm]'"
            ) from None
        # Checked here, because timm ignores what it does not recognise.
        if not _NOTATION.fullmatch(notation):
            raise ConfigError(
                f'data.auto_augment: got {notation!r}, expected "trivial" or timm\'s notation, '
                'such as "rand-m7-mstd0.5-inc1"'
            )
        options = {"translate_const": int(size * 0.45), "img_mean": fill}
        self._augment = rand_augment_transform(notation, options)

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns the augmented image, uint8[3, H, W]."""
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        with _global_generators(rng):
            augmented = self._augment(picture)
        return torch.from_numpy(np.array(augmented)).permute(2, 0, 1)


@dataclass(frozen=True)
class RandomErase:
    """Fills a random rectangle with one colour (Zhong et al. 2020), sampled as in torchvision.

    Attributes:
        probability: Probability of erasing a rectangle.
        fill: RGB colour of the rectangle.
    """

    probability: float
    fill: tuple[int, int, int]

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns the augmented image, uint8[3, H, W]."""
        if rng.random() >= self.probability:
            return image
        height, width = image.shape[1:]
        limit = -math.log(ERASED_RATIO)
        for _ in range(TRIES):
            area = rng.uniform(*ERASED_AREA) * height * width
            ratio = math.exp(rng.uniform(-limit, limit))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < height and w < width:
                top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
                erased = image.clone()
                color = torch.tensor(self.fill, dtype=torch.uint8)[:, None, None]
                erased[:, top : top + h, left : left + w] = color
                return erased
        return image


@contextmanager
def _global_generators(rng: np.random.Generator) -> Iterator[None]:
    """Seeds the global generators that the libraries use from `rng`, and restores them after."""
    python, numpy, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torchs)
