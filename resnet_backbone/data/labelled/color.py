"""AlexNet's colour augmentation, the paper's "standard" one (He et al. 2016, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Principal components of ImageNet's RGB values in [0, 1], as in fb.resnet.torch and most code
# since. Rows are R, G, B; columns are the components.
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
    once per image from a Gaussian with mean 0.

    Attributes:
        std: Standard deviation of that Gaussian; 0.1 in the AlexNet paper.
    """

    std: float = 0.1

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Returns the augmented image, uint8[3, H, W], clipped to 0 to 255."""
        return shift_color(image, rng.normal(0.0, self.std, 3))


def shift_color(image: Tensor, alphas: np.ndarray) -> Tensor:
    """Returns `image`, uint8[3, H, W], plus `alphas`, float[3], times the principal components.

    The shift is rounded to one integer per channel. Pixels that it would move out of 0 to 255 are
    clamped before it is added, so uint8 arithmetic suffices.
    """
    shift = np.rint(255.0 * EIGENVECTORS @ (alphas * EIGENVALUES)).clip(-255, 255).astype(int)
    height, width = image.shape[1:]
    rows = image.permute(1, 2, 0).reshape(height, width * 3)
    lowest, highest, added = (
        torch.tensor(values, dtype=torch.uint8).repeat(width)
        for values in (np.maximum(-shift, 0), 255 - np.maximum(shift, 0), shift % 256)
    )
    shifted = rows.clamp(lowest, highest) + added  # modulo 256
    return shifted.view(height, width, 3).permute(2, 0, 1)
