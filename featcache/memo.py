"""What picture files held when they were last read: planning again need not read those that look the same."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError
from featcache.hdf5 import build_image, child_names, read_attributes, read_block
from featcache.keyindex import KeyIndex
from featcache.publish import replace_file, temporary_beside
from featcache.sealed import write_bytes

__all__ = ["RACY_NS", "Memo", "stamp_file"]

FORMAT_VERSION = 1
RACY_NS = 2_000_000_000
"""A file that changed less than this before it was read is not remembered: it could change again unnoticed."""
_COLUMNS = {"height": "uint32", "key": "uint8", "stamp": "uint8", "width": "uint32"}
_NAMES = sorted(_COLUMNS)


def stamp_file(path: str, before_ns: int) -> bytes | None:
    """Return a digest of a file's path, size, time of change (mtime) and inode.

    Two looks at a file give the same stamp unless something was done to it. Not noticed is a change that keeps the
    size and puts the old time back.

    Parameters
    ----------
    path : str
        The file.
    before_ns : int
        Time of change, in nanoseconds since 1970, from which on a file is too young: a change within the clock's
        step would leave the stamp as it is.

    Returns
    -------
    bytes or None
        32 bytes; None if the file is too young, no regular file, or not there.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - three times as fast as Path.stat, and called a million times
    except (OSError, ValueError):
        return None
    if found.st_mtime_ns >= before_ns or not stat.S_ISREG(found.st_mode):
        return None
    look = b"%s\0%d %d %d" % (os.fsencode(path), found.st_size, found.st_mtime_ns, found.st_ino)
    return hashlib.sha256(look).digest()


@dataclass(frozen=True)
class Memo:
    """Contents of files by the stamp that the files had.

    Derived: to lose it costs the time of reading the pictures once more, and nothing else.

    Attributes
    ----------
    stamp : (n, 32) uint8
        What `stamp_file` returned.
    key : (n, 32) uint8
        Sha256 of the bytes.
    width, height : (n,) uint32
        Of the picture in pixels, 0 if unknown.
    """

    stamp: NDArray[np.uint8]
    key: NDArray[np.uint8]
    width: NDArray[np.uint32]
    height: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.stamp)

    @classmethod
    def empty(cls) -> Memo:
        """Return a memo without entries."""
        return cls(
            np.empty((0, 32), np.uint8), np.empty((0, 32), np.uint8), np.empty(0, np.uint32), np.empty(0, np.uint32)
        )

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.from_shards([self.stamp])

    def find(self, stamps: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the entry of each stamp (m, 32), -1 where there is none: (m,)."""
        return self._index.find(stamps)[1]

    @classmethod
    def load(cls, path: Path) -> Memo:
        """Read a memo; one that is missing, damaged or of another version is an empty one."""
        where = f"memo {path}"
        try:
            with h5py.File(path, "r") as file:
                values = read_attributes(file, {"format_version": "i", "checksum": "S"}, where)
                if values["format_version"] != FORMAT_VERSION or child_names(file, len(_COLUMNS), where) != _NAMES:
                    return cls.empty()
                size = path.stat().st_size
                blocks = {name: read_block(file, name, size, where, (dtype,)) for name, dtype in _COLUMNS.items()}
                n = blocks["stamp"].shape[:1]
                if any(block.shape != (n + (32,) * (block.dtype == "uint8")) for block in blocks.values()):
                    return cls.empty()
                columns = {name: np.asarray(file[name][...]) for name in _COLUMNS}
        except (ShardError, OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError):
            return cls.empty()
        return cls(**columns) if _digest(columns).encode() == values["checksum"] else cls.empty()

    def save(self, path: Path) -> None:
        """Write the memo, atomically replacing an earlier one; of two writers the last wins."""
        columns = {name: np.ascontiguousarray(getattr(self, name)) for name in _NAMES}

        def fill(file: Any) -> None:
            file.attrs["format_version"] = np.int64(FORMAT_VERSION)
            file.attrs["checksum"] = np.bytes_(_digest(columns))
            for name, data in columns.items():
                file.create_dataset(name, data=data)

        with temporary_beside(path) as temp:
            write_bytes(temp, build_image(fill), path)
            replace_file(temp, path)


def _digest(columns: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in _NAMES:
        digest.update(f"\x00{name} {columns[name].shape}\x00".encode())
        digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()
