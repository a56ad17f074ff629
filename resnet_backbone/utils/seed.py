"""Seeds, saves and restores the random number generators of this process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seeds the generators of Python, NumPy and torch, including those of all GPUs.

    Args:
        seed: The run's seed, which rank 0 uses as it is.
        rank: Other ranks get seeds of their own.
    """
    if rank > 0:
        # The upper 63 bits, as torch takes no more for a positive seed.
        seed = int(np.random.SeedSequence((seed, rank)).generate_state(1, np.uint64)[0] >> 1)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def get_state() -> dict[str, Any]:
    """Returns the state of all generators as JSON values."""
    numpy_state: Any = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": numpy_state
        | {
            "state": {
                "key": numpy_state["state"]["key"].tolist(),
                "pos": numpy_state["state"]["pos"],
            }
        },
        "torch": torch.get_rng_state().tolist(),
        "cuda": torch.cuda.get_rng_state().tolist() if torch.cuda.is_initialized() else None,
    }


def set_state(state: dict[str, Any]) -> None:
    """Restores the state that `get_state` returned, also after conversion to JSON and back."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(torch.tensor(state["cuda"], dtype=torch.uint8))
