"""Checks whether gradients reach every layer (He et al. 2016, section 4.1, "Plain Networks")."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.errors import ConfigError


@dataclass(frozen=True)
class GradientNorm:
    """The gradient norm of one convolution.

    Attributes:
        name: The convolution's name in `named_modules`.
        norm: L2 norm of the gradient of the mean cross-entropy with respect to its weight.
    """

    name: str
    norm: float


def gradient_norms(network: nn.Module, images: Tensor, labels: Tensor) -> list[GradientNorm]:
    """Measures the gradient norm of each convolution, in the order of `named_modules`.

    The paper argues that plain networks do not suffer from vanishing gradients: with batch
    normalisation, their gradients "exhibit healthy norms". The network is copied and run in
    training mode, with batch statistics, as in a training step; weight decay is not included.

    Args:
        network: Maps images to logits float[B, K].
        images: float[B, 3, H, W], normalised as the network expects.
        labels: int64[B].

    Raises:
        ConfigError: the network has no trainable convolution.
    """
    measured = copy.deepcopy(network).train()
    convolutions = {
        name: module.weight
        for name, module in measured.named_modules()
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad
    }
    if not convolutions:
        raise ConfigError("gradient norms: the network has no trainable convolution")
    loss = F.cross_entropy(measured(images).float(), labels)
    gradients = torch.autograd.grad(loss, list(convolutions.values()))
    return [
        GradientNorm(name, torch.linalg.vector_norm(gradient.double()).item())
        for name, gradient in zip(convolutions, gradients, strict=True)
    ]
