"""AlexNet's colour augmentation, the paper's "standard" one (He et al. 2016, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Principal components of ImageNet's RGB values in [0, 1]: the numbers of fb.resnet.torch and of
# everybody since. Rows are R, G, B; columns the components.
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


@dataclass(frozen=True)
class PCAColor:
    """Adds a multiple of each principal component to all pixels of an image.

    Krizhevsky et al. 2012, section 4.1: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T, with each a drawn
    once per image from a Gaussian of mean 0.

    Attributes:
        std: Of that Gaussian; 0.1 there.
    """

    std: float = 0.1

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns uint8[3, H, W], clipped to 0 to 255."""
        return shift_color(image, rng.normal(0.0, self.std, 3))


def shift_color(image: Tensor, alphas: np.ndarray) -> Tensor:
    """Returns `image`, uint8[3, H, W], with the components added `alphas`, float[3], times.

    One of 256 values becomes another: a table is quicker than arithmetic on the pixels.
    """
    shift = 255.0 * EIGENVECTORS @ (alphas * EIGENVALUES)
    values = np.arange(256)[None] + shift[:, None]
    table = torch.from_numpy(np.rint(values.clip(0, 255)).astype(np.uint8))
    return torch.stack([row[channel.int()] for row, channel in zip(table, image, strict=True)])
