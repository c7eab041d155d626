"""Memory that processes share for files of any size: it grows, and is used again."""

from __future__ import annotations

import mmap
import os

__all__ = ["Slab"]

_STEP = 16 << 20


class Slab:
    """A shared file, mapped as far as it was asked for.

    Parameters
    ----------
    descriptor : int
        Of the file, as `featcache.extraction.preparing.slots.shared_file` makes it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = memoryview(b"")

    def up_to(self, end: int) -> memoryview:
        """Return the memory, of at least so many bytes; what was returned before stays, but is no part of a new one."""
        if end > len(self._memory):
            size = os.fstat(self.descriptor).st_size
            if size < end:
                size = -(-end // _STEP) * _STEP
                os.ftruncate(self.descriptor, size)
            self._memory = memoryview(mmap.mmap(self.descriptor, size))
        return self._memory

    def close(self) -> None:
        """Let go of it; it stays as long as something sees a part of it."""
        self._memory = memoryview(b"")
        os.close(self.descriptor)
