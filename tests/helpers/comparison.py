"""What comparisons of two networks need."""

from __future__ import annotations

import torch


def randomise_norms(module: torch.nn.Module) -> None:
    """Statistics as after training: not the identity, and small enough for 152 layers."""
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)
        elif name.endswith("running_var") or tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Returns the largest difference, relative to the largest value."""
    return float((actual - expected).abs().max() / expected.abs().max())
