"""What picture files held when they were last read: planning again need not read those that look the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.file_facts import FileFacts
from featcache.errors import ShardError
from featcache.files.column_file import READ_ERRORS, ColumnFile
from featcache.identity.key_index import KeyIndex

__all__ = ["Memo"]

FORMAT_VERSION = 2
_DIGEST_BYTES = 32
_DIGESTS = dict.fromkeys(("stamp", "key"), "uint8")
_FACTS = {"format": "uint8", "n_bytes": "uint32", "has_exif": "int8"}
_COLUMNS = _DIGESTS | {"width": "uint32", "height": "uint32"} | _FACTS


@dataclass(frozen=True)
class Memo:
    """Contents of files by the stamp that the files had.

    Derived: to lose it costs the time of reading the pictures once more, and nothing else.

    Attributes
    ----------
    stamp : (n, 32) uint8
        What each file, or part of one, looked like: a digest of path, size, time of change, inode and part.
    key : (n, 32) uint8
        Keys: the sha256 of each file's bytes.
    width, height : (n,) uint32
        Size of the picture in pixels, 0 if unknown.
    files : FileFacts
        What else was seen of the file or part.
    """

    stamp: NDArray[np.uint8]
    key: NDArray[np.uint8]
    width: NDArray[np.uint32]
    height: NDArray[np.uint32]
    files: FileFacts

    def __len__(self) -> int:
        return len(self.stamp)

    @classmethod
    def empty(cls) -> Memo:
        """Return a memo without entries."""
        nothing, no_size = np.empty((0, _DIGEST_BYTES), np.uint8), np.empty(0, np.uint32)
        return cls(nothing, nothing, no_size, no_size, FileFacts.unknown(0))

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.from_shards([self.stamp])

    def find(self, stamps: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the entry of each stamp (m, 32), -1 where there is none: (m,)."""
        return self._index.find(stamps)[1]

    @classmethod
    def load(cls, path: Path) -> Memo:
        """Map a memo; one that is missing, damaged or of another version is an empty one."""
        try:
            return cls.read(path)
        except ShardError:
            return cls.empty()

    @classmethod
    def read(cls, path: Path) -> Memo:
        """Map a memo.

        Raises
        ------
        ShardError
            If it is missing, damaged or of another version.
        """
        where = f"memo {path}"
        try:
            file = ColumnFile.open(path, _COLUMNS, format_version=FORMAT_VERSION, where=where)
            columns = file.columns
            one, two = columns["width"].shape, (*columns["width"].shape, _DIGEST_BYTES)
            is_sound = all(c.shape == (two if name in _DIGESTS else one) for name, c in columns.items())
            if not (len(one) == 1 and is_sound and file.is_intact):
                raise ShardError(f"{where} was damaged")
            return cls._of(columns)
        except ShardError:
            raise
        except READ_ERRORS as error:
            raise ShardError(f"{where} cannot be read: {' '.join(str(error).split())[:200]}") from error

    @classmethod
    def _of(cls, columns: Mapping[str, NDArray[Any]]) -> Memo:
        own = {name: column for name, column in columns.items() if name not in _FACTS}
        return cls(**own, files=FileFacts(**{name: columns[name] for name in _FACTS}))

    def save(self, path: Path, *, root: Path) -> None:
        """Write the memo below ``root``, atomically replacing an earlier one; of two writers the last wins."""
        columns = {name: getattr(self.files if name in _FACTS else self, name) for name in _COLUMNS}
        ColumnFile(columns, FORMAT_VERSION).write(path, root=root)
