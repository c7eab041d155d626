"""Columns of strings without a Python object a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError

__all__ = ["StringColumn"]

_MAX_ARRAY = 1 << 32


@dataclass(frozen=True)
class StringColumn:
    """Strings as one UTF-8 blob and n + 1 offsets: no object arrays on disk, nothing decoded before it is needed."""

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def from_strings(cls, values: Sequence[str]) -> StringColumn:
        """Pack strings."""
        encoded = [value.encode("utf-8", "surrogateescape") for value in values]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(e) for e in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

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
        return StringColumn.from_strings([self[int(i)] for i in np.arange(len(self))[rows]])
