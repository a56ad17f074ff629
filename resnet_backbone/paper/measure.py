"""Measurements on the trained network of a run: layer responses and gradient norms."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from resnet_backbone.errors import DataError
from resnet_backbone.paper.gradients import gradient_norms
from resnet_backbone.paper.responses import layer_responses

BATCH = 128  # images per forward pass


@dataclass(frozen=True)
class Measured:
    """Measurements of a network on given images.

    Attributes:
        responses: (name of a 3x3 convolution, standard deviation), see `layer_responses`.
        gradients: (name of a convolution, L2 norm), see `gradient_norms`.
    """

    responses: list[tuple[str, float]]
    gradients: list[tuple[str, float]]


def measure_run(network: nn.Module, images: Tensor, labels: Tensor) -> Measured:
    """Measures layer responses and gradient norms on the same images.

    Args:
        network: The trained network, which maps images to logits float[B, K].
        images: float[N, 3, H, W], normalised as the network expects. Gradients are computed from
            one batch, the first `BATCH` images; this is the paper's batch size for CIFAR.
        labels: int64[N].

    Raises:
        DataError: there are no images, or not the same number of labels.
        ConfigError: the network has no 3x3 convolution followed by a norm, or no trainable
            convolution.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"got {len(images)} images and {len(labels)} labels, expected equally many")
    responses = layer_responses(network, images.split(BATCH))
    gradients = gradient_norms(network, images[:BATCH], labels[:BATCH])
    return Measured(
        [(response.name, response.std) for response in responses],
        [(gradient.name, gradient.norm) for gradient in gradients],
    )
