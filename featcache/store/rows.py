"""The fast way to vectors: contents are looked up once, then every batch is a few `numpy.take` from mapped files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featcache.store.column import Column
from featcache.store.maps import ShardMaps

__all__ = ["Rows"]

_CHUNK = 4096
_RUN = 32
"""Consecutive rows that are copied at once, reading ahead even where other reads are scattered."""
_FEW = 4
"""Rows that a shard must have on average for reading in the order asked for, without sorting by shard first."""


def _is_range(indices: NDArray[np.integer]) -> bool:
    first, last = int(indices[0]), int(indices[-1])
    is_like = first >= 0 and last - first == len(indices) - 1
    return is_like and bool((indices[1:] - indices[:-1] == 1).all())


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors of a list of contents, found once, then read by position. Read-only, picklable, safe in threads.

    Attributes
    ----------
    maps : ShardMaps
        The mapped shards that are read.
    columns : tuple of Column
        The outputs, concatenated in this order.
    present : (n,) bool
        Which contents have a vector of every output.
    dtype : numpy.dtype
        Dtype in which the vectors are stored.
    is_random : bool
        Whether scattered reads tell the kernel not to read ahead.
    """

    maps: ShardMaps
    columns: tuple[Column, ...]
    present: NDArray[np.bool_]
    dtype: np.dtype[Any]
    is_random: bool = False

    def __len__(self) -> int:
        return len(self.present)

    @cached_property
    def width(self) -> int:
        """Columns of a row."""
        return sum(column.width for column in self.columns)

    @cached_property
    def is_complete(self) -> bool:
        """Whether every row is present."""
        return bool(self.present.all())

    def select(self, indices: NDArray[Any]) -> Rows:
        """Return some rows, in the order of ``indices``."""
        columns = tuple(Column(c.output, c.width, c.shard[indices], c.row[indices]) for c in self.columns)
        return Rows(self.maps, columns, self.present[indices], self.dtype, self.is_random)

    @cached_property
    def _scattered(self) -> Rows:
        return replace(self, is_random=True)

    def at_random(self) -> Rows:
        """Return the same rows for scattered reading: cold pages come alone, without what lies around them."""
        return self if self.is_random else self._scattered

    def read(
        self, indices: NDArray[np.integer], *, dtype: DTypeLike = np.float32, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read rows.

        Parameters
        ----------
        indices : (m,) int
            Positions, in any order, repetitions allowed.
        dtype : dtype
            Dtype of the result; ``rows.dtype`` reads what is stored without a conversion.
        out : (m, width) array
            Where to write, instead of a new array.

        Returns
        -------
        array (m, width)
            NaN in the rows that are not present.
        """
        indices = np.asarray(indices)
        if out is None:
            if np.dtype(dtype) == self.dtype and len(self.columns) == 1 and len(indices) <= _CHUNK:
                taken = self._take(self.columns[0], indices)
                if taken is not None:
                    return self._without_absent(indices, taken)
            out = np.empty((len(indices), self.width), dtype)
        if out.shape != (len(indices), self.width) or not np.can_cast(self.dtype, out.dtype, "safe"):
            raise ValueError(
                f"out is {out.shape} {out.dtype}, expected ({len(indices)}, {self.width}) of {self.dtype} or wider"
            )
        for start in range(0, len(indices), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._read_chunk(indices[part], out[part])
        return out

    def _read_chunk(self, indices: NDArray[np.integer], out: NDArray[Any]) -> None:
        offset = 0
        for column in self.columns:
            self._read_column(column, indices, out[:, offset : offset + column.width])
            offset += column.width
        self._without_absent(indices, out)

    def _without_absent(self, indices: NDArray[np.integer], out: NDArray[Any]) -> NDArray[Any]:
        if not self.is_complete:
            out[~self.present[indices]] = np.nan
        return out

    def _take(self, column: Column, indices: NDArray[np.integer]) -> NDArray[Any] | None:
        """Return scattered rows of all shards at once, or None where not all is mapped, or in one shard anyway."""
        if column.only_shard is not None:
            return None
        window = self.maps.window(column.output, self.is_random)
        if window is None or window.dtype != self.dtype:
            return None
        return window.take(column.positions(window)[indices])

    def _read_column(self, column: Column, indices: NDArray[np.integer], out: NDArray[Any]) -> None:
        if not len(indices):
            return
        if _is_range(indices) and self._copy_range(column, int(indices[0]), out):
            return
        if column.only_shard is not None:
            self._read_group(column, column.only_shard, column.row[indices].astype(np.intp), out)
            return
        taken = self._take(column, indices)
        if taken is None:
            self._read_by_shard(column, indices, out)
        else:
            np.copyto(out, taken)

    def _copy_range(self, column: Column, first: int, out: NDArray[Any]) -> bool:
        """Copy consecutive rows where they lie one after the other; returns whether that is so."""
        last = first + len(out)
        low, high = column.breaks.searchsorted((first + 1, last)).tolist()
        if last > len(self) or (high - low + 1) * _RUN > len(out):
            return False
        cuts = [first, *column.breaks[low:high].tolist(), last]
        for start, stop in pairwise(cuts):
            number, row = int(column.shard[start]), int(column.row[start])
            if number < len(self.maps.shards):
                vectors = self.maps.get(number, column.output, False)
                np.copyto(out[start - first : stop - first], vectors[row : row + stop - start])
        return True

    def _read_by_shard(self, column: Column, indices: NDArray[np.integer], out: NDArray[Any]) -> None:
        shard = column.shard[indices]
        change = (shard[1:] != shard[:-1]).nonzero()[0]
        if len(change) * _FEW <= len(shard):
            self._read_runs(column, shard, change, column.row[indices].astype(np.intp), out)
            return
        # Shard by shard into a buffer, then into the order asked for: a few large copies instead of many small ones.
        order = shard.argsort(kind="stable")
        shard = shard[order]
        change = (shard[1:] != shard[:-1]).nonzero()[0]
        buffer = np.empty((len(order), column.width), self.dtype)
        self._read_runs(column, shard, change, column.row[indices][order].astype(np.intp), buffer)
        out[order] = buffer

    def _read_runs(
        self,
        column: Column,
        shard: NDArray[np.unsignedinteger],
        change: NDArray[np.intp],
        row: NDArray[np.intp],
        out: NDArray[Any],
    ) -> None:
        opened = self.maps.opened(column.output, self.is_random)
        is_direct = out.dtype == self.dtype and out.flags.c_contiguous
        numbers = [*shard[change].tolist(), int(shard[-1])]
        start = 0
        for number, stop in zip(numbers, [*(change + 1).tolist(), len(shard)], strict=True):
            vectors = opened.get(number)
            # All rows exist: mode "clip" only spares numpy the copy that it makes of `out` in case one does not.
            if vectors is not None and is_direct and stop - start < _RUN:
                vectors.take(row[start:stop], 0, out[start:stop], "clip")
            else:
                self._read_group(column, number, row[start:stop], out[start:stop])
            start = stop

    def _read_group(self, column: Column, number: int, row: NDArray[np.intp], out: NDArray[Any]) -> None:
        if number >= len(self.maps.shards):
            return
        first, last = int(row[0]), int(row[-1])
        is_run = last - first == len(row) - 1 and bool((row[1:] > row[:-1]).all())
        vectors = self.maps.get(number, column.output, self.is_random and not (is_run and len(row) >= _RUN))
        if is_run:
            np.copyto(out, vectors[first : last + 1])
        elif out.dtype == vectors.dtype and out.flags.c_contiguous:
            vectors.take(row, 0, out, "clip")
        else:
            np.copyto(out, vectors.take(row, 0, mode="clip"))
