"""Finding the rows of content keys among many shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MISSING", "KeyIndex", "group_keys", "keys_of", "number_keys", "prefixes"]

MISSING = -1
_AT_A_TIME = 2**19  # keys that are looked up: each needs 140 bytes meanwhile, its result 8


def prefixes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first eight bytes of (n, 32) keys as big-endian integers: sorts as the keys do."""
    head = np.ascontiguousarray(keys[:, :8])
    return head.view(">u8").astype(np.uint64).reshape(-1)


def keys_of(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    """Stack 32-byte digests into an (n, 32) uint8 array."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def number_keys(keys: NDArray[np.uint8], is_known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number different keys (n, 32) from 0, in any order: (n,), -1 where there is none."""
    rows = np.flatnonzero(is_known)
    order, is_first = group_keys(keys[rows])
    numbers = np.full(len(keys), -1, np.int64)
    numbers[rows[order]] = np.cumsum(is_first) - 1
    return numbers


def group_keys(keys: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an order of (n, 32) keys that puts equal ones together, earlier rows first, and where in it they begin."""
    words = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 4)
    is_first = np.ones(len(words), bool)
    # Sorting by the first word is four times as fast, and enough unless two keys begin alike without being equal.
    order = np.argsort(words[:, 0], kind="stable")
    heads = words[order, 0]
    begins = heads[1:] != heads[:-1]
    same = np.flatnonzero(~begins)
    if (words[order[same + 1]] == words[order[same]]).all():
        is_first[1:] = begins
        return order, is_first
    order = np.lexsort(words.T)
    is_first[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    return order, is_first


@dataclass(frozen=True)
class KeyIndex:
    """Sorted keys of several shards; of a key in several of them the first shard counts.

    Attributes
    ----------
    keys : (N, 32) uint8
        All keys, in the order of shard and row.
    starts : (n_shards + 1,) int64
        Where the keys of each shard begin, and ``N``.
    order : (N,) int64
        Positions sorted by key prefix, then by position.
    sorted_prefix : (N,) uint64
        ``prefixes(keys)[order]``.
    """

    keys: NDArray[np.uint8]
    starts: NDArray[np.int64]
    order: NDArray[np.int64]
    sorted_prefix: NDArray[np.uint64]

    @classmethod
    def from_shards(cls, keys: Sequence[NDArray[np.uint8]]) -> KeyIndex:
        """Build the index of shards given as their (n_i, 32) keys, in order of preference."""
        stacked = np.concatenate([np.empty((0, 32), np.uint8), *keys])
        starts = np.zeros(len(keys) + 1, np.int64)
        np.cumsum([len(k) for k in keys], out=starts[1:])
        prefix = prefixes(stacked)
        order = np.argsort(prefix, kind="stable").astype(np.int64, copy=False)
        return cls(stacked, starts, order, prefix[order])

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, wanted: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (shard, row) of each wanted key, ``-1`` where it is in no shard."""
        found = self._positions(wanted)
        shard = np.searchsorted(self.starts, found, side="right") - 1
        row = np.where(found >= 0, found - self.starts[shard], MISSING)
        return shard, row

    def contains(self, wanted: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which wanted keys are in some shard."""
        return self._positions(wanted) >= 0

    def _positions(self, wanted: NDArray[np.uint8]) -> NDArray[np.int64]:
        found = np.full(len(wanted), MISSING, np.int64)
        if len(self.keys):
            for start in range(0, len(wanted), _AT_A_TIME):
                part = slice(start, start + _AT_A_TIME)
                self._look_up(wanted[part], out=found[part])
        return found

    def _look_up(self, wanted: NDArray[np.uint8], *, out: NDArray[np.int64]) -> None:
        """Write where the wanted keys are; what is found nowhere stays as it is."""
        prefix = prefixes(wanted)
        position = np.empty(len(wanted), np.int64)
        # Looked up in their order: neighbours then touch the same cache lines, which is far faster for many.
        ascending = np.argsort(prefix)
        position[ascending] = np.searchsorted(self.sorted_prefix, prefix[ascending], side="left")
        open_ = np.arange(len(wanted))
        while len(open_):
            at = position[open_]
            inside = at < len(self.order)
            inside[inside] = self.sorted_prefix[at[inside]] == prefix[open_[inside]]
            open_, at = open_[inside], at[inside]
            candidate = self.order[at]
            equal = (self.keys[candidate] == wanted[open_]).all(axis=1)
            out[open_[equal]] = candidate[equal]
            open_ = open_[~equal]
            position[open_] += 1
