"""Columns of strings without a Python object a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError

__all__ = ["StringBuilder", "StringColumn"]

_MAX_ARRAY = 1 << 32
_AT_ONCE = 4096


@dataclass(frozen=True)
class StringColumn:
    """Strings as one UTF-8 blob and n + 1 offsets: no object arrays on disk, nothing decoded before it is needed."""

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def from_strings(cls, values: Iterable[str]) -> StringColumn:
        """Pack strings, one after the other."""
        builder = StringBuilder()
        for value in values:
            builder.append(value)
        return builder.pack()

    @classmethod
    def from_parts(cls, blob: NDArray[np.uint8], offsets: NDArray[np.int64], name: str) -> StringColumn:
        """Put together what was read from a file.

        Raises
        ------
        ValueError
            If the offsets do not divide the blob; ``name`` is that of the column.
        """
        if not len(offsets) or offsets[0] or offsets[-1] != len(blob) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError(f"offsets of {name!r} do not divide its {len(blob)} bytes")
        return cls(blob, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            for value in self.encoded(np.arange(start, min(start + _AT_ONCE, len(self)))):
                yield value.decode("utf-8", "surrogateescape")

    def encoded(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return some strings as they are stored; best if their rows (m,) are near each other."""
        if not len(rows):
            return []
        begins, ends = self.offsets[rows], self.offsets[rows + 1]
        base, end = begins.min(), ends.max()
        raw = self.blob[base:end].tobytes()
        return [raw[a:b] for a, b in zip((begins - base).tolist(), (ends - base).tolist(), strict=True)]

    @property
    def is_filled(self) -> NDArray[np.bool_]:
        """Which strings are not empty: (n,)."""
        return np.diff(self.offsets) > 0

    def to_array(self) -> NDArray[np.str_]:
        """Return all strings as a unicode array (n,).

        Raises
        ------
        ShardError
            If the longest is so long that the array, in which every row has its width, would take over 4 GiB.
        """
        longest = int(np.diff(self.offsets).max(initial=0))
        if 4 * longest * len(self) > _MAX_ARRAY:
            raise ShardError(
                f"a column of {len(self)} texts, the longest of {longest} bytes, is too large for an array"
            )
        raw, ends = self.blob.tobytes(), self.offsets.tolist()
        return np.array(
            [raw[a:b].decode("utf-8", "surrogateescape") for a, b in pairwise(ends)],
            dtype=np.str_,
        ).reshape(len(self))

    def select(self, rows: NDArray[Any]) -> StringColumn:
        """Return some rows."""
        return StringColumn.from_strings(self[int(i)] for i in np.arange(len(self))[rows])


@dataclass(frozen=True, slots=True)
class StringBuilder:
    """A column of strings that grows."""

    blob: bytearray = field(default_factory=bytearray)
    ends: array[int] = field(default_factory=lambda: array("q", [0]))

    def append(self, value: str) -> None:
        """Add a string.

        Raises
        ------
        UnicodeEncodeError
            If it is no Unicode text, nor the name of a file.
        """
        self.blob.extend(value.encode("utf-8", "surrogateescape"))
        self.ends.append(len(self.blob))

    def pack(self) -> StringColumn:
        """Return the column; nothing can be added any more."""
        ends = np.frombuffer(self.ends, np.int64) if self.blob else np.broadcast_to(np.int64(0), len(self.ends))
        return StringColumn(np.frombuffer(self.blob, np.uint8), ends)
