"""What is in a cache, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.cache import Cache
from featcache.failures import failed_keys, read_failures
from featcache.fingerprint import Fingerprint
from featcache.keyindex import KeyIndex
from featcache.samples import UNREADABLE, SampleTable, read_samples
from featcache.shardset import ShardSet

__all__ = ["CacheStatus", "Coverage", "DatasetStatus", "ProducerStatus", "cache_status"]


@dataclass(frozen=True)
class Coverage:
    """How much of a data set's contents one producer has.

    Attributes
    ----------
    producer, view, output : str
        Which vectors; ``producer`` is a short fingerprint.
    n_contents, n_stored, n_failed : int
        Unique contents of that side, those stored, and those that are not because they failed.
    """

    producer: str
    view: str
    output: str
    n_contents: int
    n_stored: int
    n_failed: int

    @property
    def n_missing(self) -> int:
        """Contents that an extraction would encode."""
        return self.n_contents - self.n_stored - self.n_failed


@dataclass(frozen=True)
class DatasetStatus:
    """One data set: its samples and how far they are covered."""

    name: str
    origin: str
    n_samples: int
    splits: Mapping[str, int]
    classes: Mapping[str, int]
    n_without: Mapping[str, int]
    n_unreadable: int
    n_contents: Mapping[str, int]
    coverage: tuple[Coverage, ...]


@dataclass(frozen=True)
class ProducerStatus:
    """One encoder and the files that it filled."""

    fingerprint: str
    modality: str
    model: str
    revision: str | None
    compute_dtype: str
    storage_dtype: str
    views: tuple[str, ...]
    outputs: Mapping[str, int]
    n_shards: int
    n_rows: int
    n_bytes: int


@dataclass(frozen=True)
class CacheStatus:
    """A whole cache."""

    path: str
    producers: tuple[ProducerStatus, ...]
    datasets: tuple[DatasetStatus, ...]

    @property
    def n_missing(self) -> int:
        """Contents of some data set that some producer lacks and has not failed on."""
        return sum(c.n_missing for d in self.datasets for c in d.coverage)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able copy."""
        return asdict(self) | {"n_missing": self.n_missing}


def cache_status(cache: Cache) -> CacheStatus:
    """Look at everything in a cache; reads keys and tables, no features.

    Raises
    ------
    ShardError
        If a file is damaged.
    """
    sets = {
        (fingerprint.digest, view): ShardSet.open(cache, fingerprint, view)
        for fingerprint in cache.producers.values()
        for view in cache.views(fingerprint)
    }
    producers = tuple(_producer(cache, f, sets) for f in cache.producers.values())
    datasets = tuple(_dataset(cache, read_samples(cache.sample_path(name)), sets) for name in cache.datasets)
    return CacheStatus(str(cache.path), producers, datasets)


def _producer(cache: Cache, fingerprint: Fingerprint, sets: Mapping[tuple[str, str], ShardSet]) -> ProducerStatus:
    own = [shards for (digest, _), shards in sets.items() if digest == fingerprint.digest]
    return ProducerStatus(
        fingerprint.digest,
        fingerprint.modality,
        fingerprint.model_name,
        fingerprint.source.get("revision"),
        str(fingerprint.identity["compute_dtype"]),
        str(fingerprint.identity["storage_dtype"]),
        cache.views(fingerprint),
        {name: width for shards in own for name, width in shards.widths.items()},
        sum(len(shards.shards) for shards in own),
        sum(shard.n_rows for shards in own for shard in shards.shards),
        sum(shards.n_bytes for shards in own),
    )


def _dataset(cache: Cache, table: SampleTable, sets: Mapping[tuple[str, str], ShardSet]) -> DatasetStatus:
    names, counts = np.unique(table.label_b, return_counts=True)
    classes = {"unknown" if b < 0 else table.class_names[b]: int(n) for b, n in zip(names, counts, strict=True)}
    splits = {s: int((table.split == s).sum()) for s in ("train", "valid", "test", "")}
    contents = {m: table.unique_keys(m) for m in ("text", "image")}
    coverage = []
    for (digest, view), shards in sets.items():
        fingerprint = cache.producers[digest]
        keys = contents[fingerprint.modality]
        failed = KeyIndex.from_shards([failed_keys(read_failures(cache, fingerprint, view))]).contains(keys)
        for output in shards.widths:
            stored = shards.contains(output, keys)
            lost = int((failed & ~stored).sum())
            coverage.append(Coverage(fingerprint.short, view, output, len(keys), int(stored.sum()), lost))
    return DatasetStatus(
        table.dataset,
        table.origin,
        len(table),
        {s or "none": n for s, n in splits.items() if n},
        classes,
        {m: int((~table.has(m)).sum()) for m in ("text", "image")},
        int((table.image_status == UNREADABLE).sum()),
        {m: len(keys) for m, keys in contents.items()},
        tuple(coverage),
    )
