"""All shards of one producer and view: which contents they hold, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import Cache
from featcache.errors import ShardError
from featcache.fingerprint import Fingerprint
from featcache.index import load_index
from featcache.keyindex import KeyIndex
from featcache.shard import Shard, read_shard

__all__ = ["ShardSet"]


@dataclass
class ShardSet:
    """Shards in the order of their names; of a content in several of them the smallest name counts.

    Attributes
    ----------
    fingerprint : Fingerprint
        Their producer.
    view : str
        The perturbation under which the contents were encoded.
    shards : tuple of Shard
        All of them, smallest name first.
    """

    fingerprint: Fingerprint
    view: str
    shards: tuple[Shard, ...]
    _indices: dict[str, tuple[KeyIndex, tuple[Shard, ...]]] = field(default_factory=dict, repr=False)
    _maps: dict[tuple[Path, str], NDArray[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, cache: Cache, fingerprint: Fingerprint, view: str) -> ShardSet:
        """Find the published shards; files that the index knows are not opened.

        Raises
        ------
        ShardError
            If a file is no shard, or one of another producer, view or dtype.
        """
        known = load_index(cache)
        shards = []
        for path in cache.shard_paths(fingerprint, view):
            receipt = known.get(path)
            shard = receipt.shard if receipt is not None else read_shard(path)
            if shard.header.fingerprint != fingerprint.digest or shard.header.view != view:
                raise ShardError(
                    f"shard {path} holds rows of {shard.header.fingerprint[:12]!r}, view {shard.header.view!r}: "
                    f"expected {fingerprint.short!r}, {view!r}; it was moved or swapped, run `featcache verify`"
                )
            shards.append(shard)
        return cls(fingerprint, view, tuple(shards))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}

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

    def _index(self, output: str) -> tuple[KeyIndex, tuple[Shard, ...]]:
        if output not in self._indices:
            holders = tuple(shard for shard in self.shards if output in shard.outputs)
            self._indices[output] = (KeyIndex.from_shards([self._map(s, "key") for s in holders]), holders)
        return self._indices[output]

    def _map(self, shard: Shard, name: str) -> NDArray[Any]:
        if (shard.path, name) not in self._maps:
            self._maps[shard.path, name] = shard.map(shard.key if name == "key" else shard.outputs[name])
        return self._maps[shard.path, name]

    def contains(self, output: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return of which keys (n, 32) this output is stored."""
        return self._index(output)[0].contains(keys)

    def keys(self, output: str) -> NDArray[np.uint8]:
        """Return all keys of which this output is stored, repetitions included: (N, 32)."""
        return self._index(output)[0].keys

    def gather(self, outputs: Sequence[str], keys: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read vectors by content key.

        Parameters
        ----------
        outputs : sequence of str
            Concatenated along the columns, in this order.
        keys : (n, 32) uint8
            Content keys, in any order, repetitions allowed.

        Returns
        -------
        features : (n, d) float32
            NaN in the rows of contents that are not stored.
        found : (n,) bool
            Which are.
        """
        widths = [self.widths[name] for name in outputs]
        features = np.full((len(keys), sum(widths)), np.nan, np.float32)
        found = np.ones(len(keys), bool)
        column = 0
        for name, width in zip(outputs, widths, strict=True):
            index, holders = self._index(name)
            shard, row = index.find(keys)
            found &= shard >= 0
            for number in np.unique(shard[shard >= 0]):
                rows = np.flatnonzero(shard == number)
                vectors = self._map(holders[number], name)
                features[rows, column : column + width] = np.take(vectors, row[rows], axis=0)
            column += width
        features[~found] = np.nan
        return features, found
