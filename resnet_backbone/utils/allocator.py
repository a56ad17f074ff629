"""Settings of the C library's memory allocator."""

from __future__ import annotations

import ctypes

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1
_GROWTH = 2**28  # bytes requested from the system at a time


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for later allocations, for the rest of the process.

    By default glibc returns every large block to the system. The next tensor of that size then gets
    new pages, which the system zeroes: some 10,000 page faults in a training step on the CPU, or 3
    to 9 % of its time. The cost is that memory is not returned before the process ends. GPU memory
    is not affected.

    Returns:
        Whether the settings apply; False if the C library is not glibc.
    """
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # only glibc has it
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _GROWTH))
    return all([library.mallopt(name, value) == 1 for name, value in settings])
