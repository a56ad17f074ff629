"""Whether gradients reach every layer (He et al. 2016, section 4.1, "Plain Networks")."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.errors import ConfigError


@dataclass(frozen=True)
class GradientNorm:
    """The gradient of one convolution.

    Attributes:
        name: Of the convolution, as in `named_modules`.
        norm: L2 norm of the gradient of the mean cross-entropy with respect to its weights.
    """

    name: str
    norm: float


def gradient_norms(network: nn.Module, images: Tensor, labels: Tensor) -> list[GradientNorm]:
    """Measures the gradient of each convolution, in the order in which the network holds them.

    The paper argues that plain networks do not suffer from vanishing gradients: with batch
    normalisation the gradients of the deep ones "exhibit healthy norms". The network is copied and
    computes in training mode, with the statistics of this batch, as a training step does; weight
    decay is left out.

    Args:
        network: Maps images to scores float[B, K].
        images: float[B, 3, H, W], as the network takes them.
        labels: int64[B].

    Raises:
        ConfigError: no convolution is trained.
    """
    measured = copy.deepcopy(network).train()
    convolutions = {
        name: module.weight
        for name, module in measured.named_modules()
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad
    }
    if not convolutions:
        raise ConfigError("gradient norms: found no convolution that is trained, expected some")
    loss = F.cross_entropy(measured(images).float(), labels)
    gradients = torch.autograd.grad(loss, list(convolutions.values()))
    return [
        GradientNorm(name, torch.linalg.vector_norm(gradient.double()).item())
        for name, gradient in zip(convolutions, gradients, strict=True)
    ]
