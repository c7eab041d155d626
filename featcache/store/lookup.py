"""Where the vectors of a data set's samples lie: shards are opened once, and rows found once a selection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from featcache.cache.folder import Cache
from featcache.cache.index import Receipt, load_index
from featcache.cache.samples import SampleTable
from featcache.errors import FeatcacheError
from featcache.identity.fingerprint import Fingerprint
from featcache.store.rows import Rows
from featcache.store.selection import Selection
from featcache.store.shard_set import ShardSet
from featcache.store.soundness import Soundness

__all__ = ["Lookup"]


class Lookup:
    """The vectors of a cache by producer and view, and those of the samples of one data set by selection.

    Parameters
    ----------
    cache : Cache
        The folder with the vectors.
    samples : SampleTable
        The data set whose samples are looked up.
    soundness : Soundness or None
        What checks shards before rows are looked up in them; None: nothing does.
    """

    def __init__(self, cache: Cache, samples: SampleTable, soundness: Soundness | None) -> None:
        self._cache = cache
        self._samples = samples
        self._soundness = soundness
        self._sets: dict[tuple[str, str], ShardSet] = {}
        self._rows: dict[Selection, Rows] = {}

    @cached_property
    def _receipts(self) -> Mapping[Path, Receipt]:
        return load_index(self._cache)

    def producer(self, fingerprint: str) -> Fingerprint:
        """Return a producer of the cache; FeatcacheError if it has none of this fingerprint."""
        known = self._cache.producers
        if fingerprint not in known:
            names = ", ".join(f.short for f in known.values()) or "none"
            raise FeatcacheError(
                f"cache {str(self._cache.path)!r} has no producer {fingerprint[:12]!r}; it has: {names}"
            )
        return known[fingerprint]

    def shard_set(self, fingerprint: str, view: str) -> ShardSet:
        """Return the shards of a producer and view, whose digests are not checked here."""
        if (fingerprint, view) not in self._sets:
            producer = self.producer(fingerprint)
            self._sets[fingerprint, view] = ShardSet.open(self._cache, producer, view, known=self._receipts)
        return self._sets[fingerprint, view]

    def widths(self, fingerprint: str, view: str) -> Mapping[str, int]:
        """Return the stored outputs of a producer under a view, and how many columns each has."""
        return self.shard_set(fingerprint, view).widths

    def rows(self, selection: Selection) -> Rows:
        """Return where the vectors of all samples lie, in the order of the manifest; ShardError if one is damaged."""
        if selection not in self._rows:
            shards = self.shard_set(selection.fingerprint, selection.view)
            if self._soundness is not None:
                self._soundness.check(shards.shards, selection.outputs, self._receipts)
            self._rows[selection] = shards.find(selection.outputs, self._samples.keys(selection.content))
            shards.forget_keys()
        return self._rows[selection]
