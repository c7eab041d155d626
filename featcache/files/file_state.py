"""How a file looks from outside: while that stays, it need not be read again to know that it is the same."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["RACY_NS", "FileState"]

RACY_NS = 2_000_000_000
"""A file that changed less than this before it was read is not remembered: it could change again unnoticed."""


class FileState(NamedTuple):
    """Size, times of change and inode of a file.

    Whatever is done to a file changes one of them, and a copy differs in at least one. The time of change of the inode
    (ctime) is among them because nobody can put it back: a file that was written over with its old time restored, as
    by ``rsync --inplace --times``, is another one. Devices are not: some file systems number them anew at each start.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: os.PathLike[str]) -> FileState | None:
        """Look at a file; None if it is not there."""
        try:
            found = os.stat(path)  # noqa: PTH116 - twice as fast, of which a thousand shards make something
        except OSError:
            return None
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def is_settled(self, now_ns: int) -> bool:
        """Whether a change from ``now_ns`` (nanoseconds since 1970) on would show."""
        return self.mtime_ns < now_ns - RACY_NS
