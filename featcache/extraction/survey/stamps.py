"""Where pictures lie, and what a file looks like from outside: one that looks the same need not be read again."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable

from featcache.dataset.readers.parquet import ParquetImage
from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageFile, ImageSource

__all__ = ["place_of", "stamp_file", "stamp_files"]


def place_of(image: ImageSource | None) -> tuple[bytes, bytes] | None:
    """Return the file that holds a picture, and where in it if it holds several; None for other sources."""
    match image:
        case ImageFile(path):
            inside = b""
        case TarImage(path, offset, size, member):
            inside = b"tar %d %d " % (offset, size) + member.encode("utf-8", "surrogateescape")
        case ParquetImage(path, column, row_group, offset, _):
            inside = b"parquet %d %d " % (row_group, offset) + column.encode("utf-8", "surrogateescape")
        case _:
            return None
    return os.fsencode(path), inside


def stamp_file(path: bytes, before_ns: int, inside: bytes = b"") -> bytes | None:
    """Return a digest of a file's path, size, time of change (mtime) and inode; see `stamp_files`.

    Parameters
    ----------
    path : bytes
        The file, as the file system has it.
    before_ns : int
        Time of change, in nanoseconds since 1970, from which on a file is too young: a change within the clock's
        step would leave the stamp as it is.
    inside : bytes
        Which of the pictures in the file; each has its own stamp.
    """
    return stamp_files((path,), before_ns, inside)[0]


def stamp_files(paths: Iterable[bytes], before_ns: int, inside: bytes = b"") -> list[bytes | None]:
    """Return a digest of each file's path, size, time of change (mtime) and inode.

    Two looks at a file give the same stamp unless something was done to it. Not noticed is a change that keeps the
    size and puts the old time back. Called with a million files: what can be looked up once is.

    Returns
    -------
    list of bytes or None
        32 bytes; None if the file is too young, no regular file, or not there.
    """
    look, digest, end = os.stat, hashlib.sha256, b"\0" + inside if inside else b""
    stamps: list[bytes | None] = []
    for path in paths:
        try:
            found = look(path)
        except (OSError, ValueError):
            stamps.append(None)
            continue
        changed = found.st_mtime_ns
        if changed < before_ns and stat.S_ISREG(found.st_mode):
            seen = b"%s\0%d %d %d%s" % (path, found.st_size, changed, found.st_ino, end)
            stamps.append(digest(seen).digest())
        else:
            stamps.append(None)
    return stamps
