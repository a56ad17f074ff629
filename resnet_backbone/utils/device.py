"""The device that a process computes on."""

from __future__ import annotations

import torch

from resnet_backbone.errors import ConfigError
from resnet_backbone.utils import distributed


def pick_device(kind: str) -> torch.device:
    """Returns this rank's device.

    Args:
        kind: "cpu", "cuda", or "auto", which means CUDA if a GPU is available.

    Raises:
        ConfigError: CUDA is requested but not available, or there are more ranks than GPUs.
    """
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch finds no usable GPU; set device=cpu or auto")
    found, index = torch.cuda.device_count(), distributed.local_rank()
    if index >= found:
        raise ConfigError(
            f"rank {distributed.rank()} needs GPU {index}, but torch finds only {found}; start at "
            f"most as many ranks on this machine (torchrun --nproc-per-node={found})"
        )
    return torch.device("cuda", index)
