"""Mapped files of shards: opened when first read, no more of them at once than a process may have."""

from __future__ import annotations

import mmap
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.shard import Shard, open_shard
from featcache.errors import ShardError
from featcache.files.hdf5 import Block
from featcache.store.window import Window

__all__ = ["ShardMaps", "read_block"]

# Before Python 3.13 every map keeps a file descriptor open, and a process has few (often 1024).
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_MAX_MAPS = 16384
_HUGE_PAGE = 2 * 1024 * 1024
"""A map begins and ends at a multiple of this: only such stretches of a file are mapped by one entry each, where the
kernel can; scattered reads of maps that end in small pages wait for the tables of those."""


def _max_maps() -> int:
    if _UNTRACKED:
        return _MAX_MAPS
    try:
        import resource
    except ImportError:
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_MAPS if soft == resource.RLIM_INFINITY else max(16, min(_MAX_MAPS, soft // 4))


def read_block(shard: Shard, block: Block) -> NDArray[Any]:
    """Read a whole block into memory; ShardError if the file is no longer the one that it was."""
    flat = np.empty(int(np.prod(block.shape, dtype=np.int64)), block.dtype)
    with open_shard(shard, block) as descriptor, open(descriptor, "rb", buffering=0, closefd=False) as file:
        file.seek(block.offset)
        left = flat.view(np.uint8).data
        while n := file.readinto(left):
            left = left[n:]
    if len(left):
        raise ShardError(f"shard {shard.path} ended while it was read: run `featcache verify`")
    return flat.reshape(block.shape)


def _map_block(shard: Shard, block: Block, is_random: bool) -> NDArray[Any]:
    if not block.nbytes:
        return np.empty(block.shape, block.dtype)
    end = block.offset + block.nbytes
    start, stop = block.offset - block.offset % _HUGE_PAGE, min(end + -end % _HUGE_PAGE, shard.size)
    with open_shard(shard, block) as descriptor:
        mapped = mmap.mmap(descriptor, stop - start, access=mmap.ACCESS_READ, offset=start, **_UNTRACKED)
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
        The shards whose outputs are to be mapped.
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
