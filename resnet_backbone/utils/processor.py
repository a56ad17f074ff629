"""Detects the CPU, where that decides between two implementations with the same result."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

import torch

_INTEL = "GenuineIntel"


@lru_cache(maxsize=1)
def has_fast_matrix_products() -> bool:
    """Returns whether torch's matrix products on the CPU are as fast as its convolutions.

    They use MKL, which runs its AVX-512 kernels on Intel processors only. On AMD processors with
    AVX-512, matrix products take twice as long as oneDNN's convolutions.
    """
    return torch.backends.mkl.is_available() and _INTEL in _description(Path("/proc/cpuinfo"))


def _description(cpuinfo: Path) -> str:
    """Returns a text that contains the vendor: of the first processor on Linux, or from Windows."""
    try:
        return cpuinfo.read_text().partition("\n\n")[0]
    except OSError:
        return platform.processor()
