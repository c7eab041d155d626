"""All shards of one producer and view: which contents they hold, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.cache.index import Receipt, load_index
from featcache.cache.shard import Shard, read_shard
from featcache.errors import ShardError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import KeyIndex
from featcache.store.column import Column
from featcache.store.maps import ShardMaps, read_block
from featcache.store.rows import Rows

__all__ = ["ShardSet"]


@dataclass
class ShardSet:
    """Shards in the order of their names; of a content in several of them the smallest name counts.

    Attributes
    ----------
    fingerprint : Fingerprint
        The producer of their vectors.
    view : str
        The perturbation under which the contents were encoded.
    shards : tuple of Shard
        All of them, smallest name first.
    """

    fingerprint: Fingerprint
    view: str
    shards: tuple[Shard, ...]
    _indices: dict[tuple[int, ...], KeyIndex] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(
        cls, cache: Cache, fingerprint: Fingerprint, view: str, *, known: Mapping[Path, Receipt] | None = None
    ) -> ShardSet:
        """Find the published shards; files that the index knows are not opened.

        Parameters
        ----------
        cache : Cache
            The cache whose shards are opened.
        fingerprint : Fingerprint
            The producer of the vectors.
        view : str
            The perturbation under which contents were encoded.
        known : mapping of Path to Receipt
            The index, if it was read already.

        Raises
        ------
        ShardError
            If a file is no shard, or one of another producer, view or dtype.
        """
        known = load_index(cache) if known is None else known
        shards, digest = [], fingerprint.digest
        for path in cache.shard_paths(fingerprint, view):
            receipt = known.get(path)
            shard = receipt.shard if receipt is not None else read_shard(path)
            if shard.header.fingerprint != digest or shard.header.view != view:
                raise ShardError(
                    f"shard {path} holds rows of {shard.header.fingerprint[:12]!r}, view {shard.header.view!r}: "
                    f"expected {fingerprint.short!r}, {view!r}; it was moved or swapped, run `featcache verify`"
                )
            shards.append(shard)
        return cls(fingerprint, view, tuple(shards))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_indices": {}}

    @property
    def n_bytes(self) -> int:
        """Size of all files in bytes."""
        return sum(shard.size for shard in self.shards)

    @cached_property
    def widths(self) -> Mapping[str, int]:
        """Stored outputs and how many columns each has.

        Raises
        ------
        ShardError
            If two shards disagree.
        """
        widths: dict[str, int] = {}
        for shard in self.shards:
            for name, block in shard.outputs.items():
                if widths.setdefault(name, block.shape[1]) != block.shape[1]:
                    raise ShardError(
                        f"shard {shard.path}: output {name!r} has {block.shape[1]} columns, others {widths[name]}"
                    )
        return dict(sorted(widths.items()))

    @cached_property
    def _maps(self) -> ShardMaps:
        return ShardMaps(self.shards)

    def _index(self, output: str) -> tuple[KeyIndex, NDArray[np.unsignedinteger]]:
        holders = tuple(number for number, shard in enumerate(self.shards) if output in shard.outputs)
        if holders not in self._indices:
            keys = [read_block(self.shards[number], self.shards[number].key) for number in holders]
            self._indices[holders] = KeyIndex.from_shards(keys)
        # What is in no shard gets a number that none has; small integers make grouping by shard a radix sort.
        missing = len(self.shards)
        return self._indices[holders], np.array([*holders, missing], np.min_scalar_type(missing))

    def contains(self, output: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return of which keys (n, 32) this output is stored."""
        return self._index(output)[0].contains(keys)

    def keys(self, output: str) -> NDArray[np.uint8]:
        """Return all keys of which this output is stored, repetitions included: (N, 32)."""
        return self._index(output)[0].keys

    def forget_keys(self) -> None:
        """Free the memory of the keys (about 50 bytes a content); they are read again when asked for."""
        self._indices.clear()

    def find(self, outputs: Sequence[str], keys: NDArray[np.uint8]) -> Rows:
        """Look contents up once, to read their vectors many times.

        Parameters
        ----------
        outputs : sequence of str
            Concatenated along the columns, in this order.
        keys : (n, 32) uint8
            Content keys, in any order, repetitions allowed.
        """
        columns: list[Column] = []
        present = np.ones(len(keys), bool)
        dtypes = set()
        for name in outputs:
            index, holders = self._index(name)
            shard, row = index.find(keys)
            longest = max((self.shards[number].n_rows for number in holders[:-1]), default=0)
            rows = row.astype(np.int32) if longest < 2**31 else row
            columns.append(Column(name, self.widths[name], holders[shard], rows))
            present &= shard >= 0
            dtypes |= {self.shards[number].outputs[name].dtype for number in holders[:-1]}
        dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
        return Rows(self._maps, tuple(columns), present, np.dtype(dtype))

    def gather(self, outputs: Sequence[str], keys: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read vectors by content key, once.

        Returns
        -------
        features : (n, d) float32
            NaN in the rows of contents that are not stored.
        found : (n,) bool
            Which contents are stored.
        """
        rows = self.find(outputs, keys)
        return rows.read(np.arange(len(rows))), rows.present
