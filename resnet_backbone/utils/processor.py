"""Which CPU this is, as far as it decides between two ways to the same result."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

import torch

_INTEL = "GenuineIntel"


@lru_cache(maxsize=1)
def has_fast_matrix_products() -> bool:
    """Whether torch's matrix products on the CPU reach the speed of its convolutions.

    They are MKL's, which runs its AVX-512 kernels on Intel's processors alone: on one of AMD's with
    AVX-512, products take twice as long as oneDNN's convolutions.
    """
    return torch.backends.mkl.is_available() and _INTEL in _description(Path("/proc/cpuinfo"))


def _description(cpuinfo: Path) -> str:
    """Returns a text with the maker's name: of the first processor on Linux, or Windows' own."""
    try:
        return cpuinfo.read_text().partition("\n\n")[0]
    except OSError:
        return platform.processor()
