"""What is measured on the trained network of a run: layer responses and gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from resnet_backbone.errors import DataError
from resnet_backbone.paper.gradients import gradient_norms
from resnet_backbone.paper.responses import layer_responses

BATCH = 128  # images whose responses are computed at once


@dataclass(frozen=True)
class Measured:
    """What a network does with given images.

    Attributes:
        responses: (3x3 convolution, standard deviation), see `layer_responses`.
        gradients: (convolution, L2 norm), see `gradient_norms`.
    """

    responses: list[tuple[str, float]]
    gradients: list[tuple[str, float]]


def measure_run(network: nn.Module, images: Tensor, labels: Tensor) -> Measured:
    """Measures both on the same images.

    Args:
        network: Trained; maps images to scores float[B, K].
        images: float[N, 3, H, W], as the network takes them. Gradients are those of one batch of
            the first `BATCH` images, as many as the paper trains CIFAR's networks with.
        labels: int64[N].

    Raises:
        DataError: there are no images, or not as many labels.
        ConfigError: the network has no 3x3 convolution with a norm behind, or trains none.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(
            f"got {len(images)} images and {len(labels)} labels, expected as many, one or more"
        )
    responses = layer_responses(network, images.split(BATCH))
    gradients = gradient_norms(network, images[:BATCH], labels[:BATCH])
    return Measured(
        [(response.name, response.std) for response in responses],
        [(gradient.name, gradient.norm) for gradient in gradients],
    )
