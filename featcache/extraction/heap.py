"""The heap of a process that runs encoders."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

__all__ = ["keep_heap", "trim_heap"]

_TRIM_THRESHOLD = -1  # malloc.h
_MMAP_THRESHOLD = -3
_NEVER = 2**31 - 1
_BYTES = 2**30


def keep_heap() -> None:
    """Keep the memory of one batch for the next, in huge pages where torch can ask for them.

    A forward on a CPU makes and drops the same tensors of tens of megabytes, layer after layer. The allocator of glibc
    gives each back to the kernel, which then zeroes fresh pages for the next. For commands only: it changes the whole
    process, and must come before torch is loaded. docs/decisions/0008 has the measurements.

    What the environment sets (``THP_MEM_ALLOC_ENABLE``, ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``) stays.
    Other allocators than that of glibc are left as they are.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for variable, option, value in (
        ("MALLOC_TRIM_THRESHOLD_", _TRIM_THRESHOLD, _NEVER),
        ("MALLOC_MMAP_THRESHOLD_", _MMAP_THRESHOLD, _BYTES),
    ):
        if variable not in os.environ:
            mallopt(option, value)


def trim_heap() -> None:
    """Give memory that is not in use back to the kernel, once: what was needed before is not what is needed now."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
