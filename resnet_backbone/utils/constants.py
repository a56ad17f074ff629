"""Constant tensors that are made once per device."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def constant(
    values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Returns a tensor of `values`, which is shared between calls, so do not write to it.

    Making it anew would let the host wait, at every call, until a GPU has done all its work.

    Args:
        values: The N values.
        device: Where they are needed, with its index.
        dtype: Their type.

    Returns:
        A tensor [N] that can also take part in training if the first call was in inference mode.
    """
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
