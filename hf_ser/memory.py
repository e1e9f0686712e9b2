"""Memory that training on CPU keeps for its next step."""

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Keep memory that is freed for the next allocation, instead of giving it back to the system.

    A step on CPU frees and takes blocks of up to hundreds of megabytes, and each time the system would fill
    every page with zeros anew, which costs more than the arithmetic on it: AudioCNN trains at 1.4 times the speed
    (`benchmarks/training.py`). The process stays as large as its largest step. Only Linux with glibc needs this.

    Returns:
        Whether it took effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
