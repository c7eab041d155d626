"""The fast way to vectors: contents are looked up once, then every batch is a few `numpy.take` from mapped files."""

from __future__ import annotations

import mmap
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featcache.errors import ShardError
from featcache.shard import Block, Shard
from featcache.window import Window

__all__ = ["Column", "Rows", "ShardMaps", "read_block"]

# Before Python 3.13 every map keeps a file descriptor open, and a process has few (often 1024).
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_MAX_MAPS = 16384
_CHUNK = 4096
_RUN = 32
"""Consecutive rows that are copied at once, reading ahead even where other reads are scattered."""
_FEW = 4
"""Rows that a shard must have on average for reading in the order asked for, without sorting by shard first."""


def _max_maps() -> int:
    if _UNTRACKED:
        return _MAX_MAPS
    try:
        import resource
    except ImportError:
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_MAPS if soft == resource.RLIM_INFINITY else max(16, min(_MAX_MAPS, soft // 4))


def _is_range(indices: NDArray[np.integer]) -> bool:
    n = len(indices)
    is_like = n > 0 and int(indices[0]) >= 0 and int(indices[-1]) - int(indices[0]) == n - 1
    return is_like and bool((indices[1:] - indices[:-1] == 1).all())


def _check_size(shard: Shard, block: Block, descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size != shard.size or block.offset + block.nbytes > size:
        raise ShardError(f"shard {shard.path} has {size} bytes, expected {shard.size}: run `featcache verify`")


def read_block(shard: Shard, block: Block) -> NDArray[Any]:
    """Read a whole block into memory; ShardError if the file no longer has the size that it had."""
    with shard.path.open("rb") as file:
        _check_size(shard, block, file.fileno())
        file.seek(block.offset)
        flat = np.fromfile(file, dtype=block.dtype, count=int(np.prod(block.shape, dtype=np.int64)))
    return flat.reshape(block.shape)


def _map_block(shard: Shard, block: Block, is_random: bool) -> NDArray[Any]:
    if not block.nbytes:
        return np.empty(block.shape, block.dtype)
    start = block.offset - block.offset % mmap.ALLOCATIONGRANULARITY
    with shard.path.open("rb") as file:
        _check_size(shard, block, file.fileno())
        length = block.offset + block.nbytes - start
        mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start, **_UNTRACKED)
    if is_random and hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    count = block.nbytes // np.dtype(block.dtype).itemsize
    return np.frombuffer(mapped, block.dtype, count, block.offset - start).reshape(block.shape)


class ShardMaps:
    """Mapped outputs of shards, opened when first read; those opened first are closed where there are too many.

    Picklable: another process opens its own.

    Parameters
    ----------
    shards : sequence of Shard
        The files.
    limit : int
        Maps to keep open; default: 16384, or a quarter of the file descriptors where a map needs one.
    """

    def __init__(self, shards: Sequence[Shard], *, limit: int | None = None) -> None:
        self.shards = tuple(shards)
        self._limit = limit or _max_maps()
        self._open: dict[tuple[str, bool], dict[int, NDArray[Any]]] = {}
        self._opened: deque[tuple[str, bool, int]] = deque()
        self._windows: dict[tuple[str, bool], Window | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}, "_opened": deque(), "_windows": {}}

    def opened(self, output: str, is_random: bool) -> Mapping[int, NDArray[Any]]:
        """Return what is open of an output, by number of the shard: a view that `get` keeps up to date."""
        return self._open.setdefault((output, is_random), {})

    def get(self, number: int, output: str, is_random: bool) -> NDArray[Any]:
        """Return an output of a shard as a mapped (n, d) array, which stays valid as long as it is referred to."""
        opened = self._open.setdefault((output, is_random), {})
        found = opened.get(number)
        if found is None:
            shard = self.shards[number]
            found = opened[number] = _map_block(shard, shard.outputs[output], is_random)
            self._opened.append((output, is_random, number))
            if len(self._opened) > self._limit:
                oldest_output, was_random, oldest = self._opened.popleft()
                self._open[oldest_output, was_random].pop(oldest, None)
        return found

    def window(self, output: str, is_random: bool) -> Window | None:
        """Return an output of all shards as one, or None if that would keep too many maps open."""
        which = (output, is_random)
        if which not in self._windows:
            n_windows = 1 + sum(window is not None for window in self._windows.values())
            arrays: list[NDArray[Any]] = []
            if n_windows * len(self.shards) <= self._limit:
                none = np.empty((0, 0), np.float16)
                has = [output in shard.outputs for shard in self.shards]
                arrays = [self.get(i, output, is_random) if has[i] else none for i in range(len(self.shards))]
            self._windows[which] = Window(arrays) if Window.fits(arrays) else None
        return self._windows[which]


@dataclass(frozen=True, eq=False)
class Column:
    """Where the vectors of one output lie.

    Attributes
    ----------
    output : str
        Its name.
    width : int
        Columns.
    shard : (n,) unsigned int
        Number of the shard; the number of shards where there is no vector.
    row : (n,) int32 or int64
        Row in it.
    """

    output: str
    width: int
    shard: NDArray[np.unsignedinteger]
    row: NDArray[np.int32] | NDArray[np.int64]

    @cached_property
    def only_shard(self) -> int | None:
        """Number of the shard in which all rows are, if they are in one."""
        is_one = len(self.shard) > 0 and bool((self.shard == self.shard[0]).all())
        return int(self.shard[0]) if is_one else None

    def positions(self, window: Window) -> NDArray[np.int64]:
        """Return where the vectors lie in a window of their shards: (n,), kept as long as both are."""
        found = window.known.get(self)
        if found is None:
            found = window.known[self] = window.positions(self.shard, self.row)
        return found

    @cached_property
    def breaks(self) -> NDArray[np.int64]:
        """Positions whose vector is not the one after that of the position before, ascending."""
        is_break = self.shard[1:] != self.shard[:-1]
        is_break |= self.row[1:] - self.row[:-1] != 1
        return np.flatnonzero(is_break) + 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors of a list of contents, found once, then read by position. Read-only, picklable, safe in threads.

    Attributes
    ----------
    maps : ShardMaps
        The files.
    columns : tuple of Column
        The outputs, concatenated in this order.
    present : (n,) bool
        Which contents have a vector of every output.
    dtype : numpy.dtype
        Stored dtype.
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

    def grouped(self, indices: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the same indices in the order in which reading is fastest: unless all is mapped, by shard."""
        column = self.columns[0]
        if self.maps.window(column.output, self.is_random) is not None:
            return indices
        order = column.shard[indices].argsort(kind="stable")
        return np.asarray(indices[order])

    def read(
        self, indices: NDArray[np.integer], *, dtype: DTypeLike = np.float32, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read rows.

        Parameters
        ----------
        indices : (m,) int
            Positions, in any order, repetitions allowed.
        dtype : dtype
            Of the result; ``rows.dtype`` reads what is stored without a conversion.
        out : (m, width) array
            Where to write, instead of a new array.

        Returns
        -------
        array (m, width)
            NaN in the rows that are not present.
        """
        indices = np.asarray(indices)
        if out is None:
            if np.dtype(dtype) == self.dtype and len(self.columns) == 1 and 0 < len(indices) <= _CHUNK:
                taken = self._take(self.columns[0], indices)
                if taken is not None:
                    return self._without_absent(indices, taken)
            out = np.empty((len(indices), self.width), dtype)
        is_wide = out.dtype == self.dtype or np.can_cast(self.dtype, out.dtype, "safe")
        if out.shape != (len(indices), self.width) or not is_wide:
            raise ValueError(
                f"out is {out.shape} {out.dtype}, expected ({len(indices)}, {self.width}) of {self.dtype} or wider"
            )
        if len(indices) <= _CHUNK:
            self._read_chunk(indices, out)
            return out
        for start in range(0, len(indices), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._read_chunk(indices[part], out[part])
        return out

    def _read_chunk(self, indices: NDArray[np.integer], out: NDArray[Any]) -> None:
        offset = 0
        for column in self.columns:
            target = out if len(self.columns) == 1 else out[:, offset : offset + column.width]
            self._read_column(column, indices, target)
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
