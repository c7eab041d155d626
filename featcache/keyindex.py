"""Finding the rows of content keys among many shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeyIndex", "keys_of", "prefixes"]

MISSING = -1


def prefixes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first eight bytes of (n, 32) keys as big-endian integers: sorts as the keys do."""
    head = np.ascontiguousarray(keys[:, :8])
    return head.view(">u8").astype(np.uint64).reshape(-1)


def keys_of(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    """Stack 32-byte digests into an (n, 32) uint8 array."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


@dataclass(frozen=True)
class KeyIndex:
    """Sorted keys of several shards; of a key in several of them the first shard counts.

    Attributes
    ----------
    keys : (N, 32) uint8
        All keys, in the order of shard and row.
    shard, row : (N,) int64
        Where each lies.
    order : (N,) int64
        Positions sorted by key prefix, then by position.
    sorted_prefix : (N,) uint64
        ``prefixes(keys)[order]``.
    """

    keys: NDArray[np.uint8]
    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    order: NDArray[np.int64]
    sorted_prefix: NDArray[np.uint64]

    @classmethod
    def from_shards(cls, keys: Sequence[NDArray[np.uint8]]) -> KeyIndex:
        """Build the index of shards given as their (n_i, 32) keys, in order of preference."""
        empty = np.empty((0, 32), np.uint8)
        stacked = np.concatenate([empty, *keys])
        counts = [len(k) for k in keys]
        shard = np.repeat(np.arange(len(keys), dtype=np.int64), counts)
        row = np.concatenate([np.empty(0, np.int64), *(np.arange(n, dtype=np.int64) for n in counts)])
        prefix = prefixes(stacked)
        order = np.argsort(prefix, kind="stable").astype(np.int64)
        return cls(stacked, shard, row, order, prefix[order])

    def find(self, wanted: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (shard, row) of each wanted key, ``-1`` where it is in no shard."""
        prefix = prefixes(wanted)
        position = np.searchsorted(self.sorted_prefix, prefix, side="left")
        found = np.full(len(wanted), MISSING, np.int64)
        open_ = np.arange(len(wanted))
        while len(open_):
            at = position[open_]
            inside = at < len(self.order)
            inside[inside] = self.sorted_prefix[at[inside]] == prefix[open_[inside]]
            open_, at = open_[inside], at[inside]
            candidate = self.order[at]
            equal = (self.keys[candidate] == wanted[open_]).all(axis=1)
            found[open_[equal]] = candidate[equal]
            open_ = open_[~equal]
            position[open_] += 1
        hit = found >= 0
        shard, row = np.full(len(wanted), MISSING, np.int64), np.full(len(wanted), MISSING, np.int64)
        shard[hit], row[hit] = self.shard[found[hit]], self.row[found[hit]]
        return shard, row

    def contains(self, wanted: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which wanted keys are in some shard."""
        return self.find(wanted)[0] >= 0
