"""What is in a cache, what is missing, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featcache.audit import Audit, audit, read_orphans
from featcache.cache import Cache
from featcache.failure_list import failure_views, list_failures, scan_folder
from featcache.failures import failed_keys, read_failures
from featcache.fingerprint import FieldChange, Fingerprint, diff_documents
from featcache.index import load_index
from featcache.keyindex import KeyIndex
from featcache.samples import SampleTable, read_samples
from featcache.sealed import read_json
from featcache.shardset import ShardSet
from featcache.steps import Step, encoder_options, next_steps

__all__ = ["CacheStatus", "Coverage", "DatasetStatus", "ProducerStatus", "cache_status"]

_HEX_DIGEST = 64


@dataclass(frozen=True)
class Coverage:
    """How much of a data set's contents one producer has.

    Attributes
    ----------
    producer, modality, view, output : str
        Which vectors; ``producer`` is a short fingerprint, ``output`` is ``""`` if it has stored nothing at all.
    n_contents, n_stored, n_failed : int
        Unique contents of that side, those stored, and those that are not because they failed.
    is_wanted : bool
        Whether this producer was ever run on this data set, as far as can be told. False: it holds none of its
        contents, but those of other data sets, while another producer has been run here.
    """

    producer: str
    modality: str
    view: str
    output: str
    n_contents: int
    n_stored: int
    n_failed: int
    is_wanted: bool

    @property
    def n_missing(self) -> int:
        """Contents that are neither stored nor failed."""
        return self.n_contents - self.n_stored - self.n_failed


@dataclass(frozen=True)
class DatasetStatus:
    """One data set: its samples, what is odd about them, and how far they are covered.

    Attributes
    ----------
    name, origin : str
        Its name in the cache, and what it was read from.
    scanned : str
        When: UTC, ISO 8601.
    n_samples : int
        Rows.
    splits, classes : mapping
        Samples of each; ``none`` and ``unknown`` for those without.
    n_contents : mapping of modality to int
        Different captions and pictures: what an encoder has to do.
    audit : Audit
        Duplicates, leaks, contradictions, gaps.
    coverage : tuple of Coverage
        One per producer, view and output.
    """

    name: str
    origin: str
    scanned: str
    n_samples: int
    splits: Mapping[str, int]
    classes: Mapping[str, int]
    n_contents: Mapping[str, int]
    audit: Audit
    coverage: tuple[Coverage, ...]

    @property
    def missing(self) -> dict[tuple[str, str], int]:
        """Contents that a producer lacks under a view, if it lacks any: of that output which lacks the most."""
        found: dict[tuple[str, str], int] = {}
        for c in self.coverage:
            if c.is_wanted and c.n_missing:
                found[c.producer, c.view] = max(c.n_missing, found.get((c.producer, c.view), 0))
        return found


@dataclass(frozen=True)
class ProducerStatus:
    """One encoder and the files that it filled.

    Attributes
    ----------
    fingerprint, modality, model, revision, path
        Who it is; ``path`` is the model's folder, None for one of the hub.
    compute_dtype, storage_dtype : str
        Of the forward, and on disk.
    views : tuple of str
        Perturbations.
    outputs : mapping of str to int
        Stored vectors and their widths.
    n_shards, n_rows, n_bytes : int
        What it filled.
    written : str or None
        Time of the newest shard: UTC, ISO 8601.
    unlike : str or None
        Short fingerprint of the first other producer of this modality, and
    changes : tuple of FieldChange
        in what this one differs from it; readable fields before digests.
    options : mapping
        Options of ``featcache extract`` that make it again.
    """

    fingerprint: str
    modality: str
    model: str
    revision: str | None
    path: str | None
    compute_dtype: str
    storage_dtype: str
    views: tuple[str, ...]
    outputs: Mapping[str, int]
    n_shards: int
    n_rows: int
    n_bytes: int
    written: str | None
    unlike: str | None
    changes: tuple[FieldChange, ...]
    options: Mapping[str, str]


@dataclass(frozen=True)
class CacheStatus:
    """A whole cache.

    Attributes
    ----------
    path : str
        The folder.
    created : str or None
        UTC, ISO 8601; None if it does not say.
    compute_dtype, storage_dtype : str
        What extractions use unless told otherwise.
    producers, datasets
        What is in it.
    n_failures : int
        Entries of ``featcache failures``.
    n_claims : int
        Work units that some process has begun and not ended; it may be dead.
    """

    path: str
    created: str | None
    compute_dtype: str
    storage_dtype: str
    producers: tuple[ProducerStatus, ...]
    datasets: tuple[DatasetStatus, ...]
    n_failures: int
    n_claims: int

    @property
    def n_missing(self) -> int:
        """Contents that data sets lack of producers that were run on them, and that have not failed."""
        return sum(n for dataset in self.datasets for n in dataset.missing.values())

    @cached_property
    def next(self) -> tuple[Step, ...]:
        """What to do next."""
        return next_steps(self)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able copy."""
        return asdict(self) | {"n_missing": self.n_missing, "next": [asdict(step) for step in self.next]}


def cache_status(cache: Cache) -> CacheStatus:
    """Look at everything in a cache; reads keys and tables, no features.

    Raises
    ------
    ShardError
        If a file is damaged.
    """
    known = load_index(cache)
    holdings = [
        _Holding(
            fingerprint, view, ShardSet.open(cache, fingerprint, view, known=known), _failed(cache, fingerprint, view)
        )
        for fingerprint in _ordered(cache)
        for view in failure_views(cache, fingerprint)
    ]
    producers = tuple(_producer(cache, f, [h for h in holdings if h.fingerprint is f]) for f in _ordered(cache))
    created = read_json(cache.path / "cache.json").get("created")
    claims = cache.path / "claims"
    return CacheStatus(
        str(cache.path),
        created if isinstance(created, str) else None,
        cache.defaults.compute_dtype,
        cache.defaults.storage_dtype,
        producers,
        tuple(_dataset(cache, name, holdings) for name in cache.datasets),
        len(list_failures(cache)),
        sum(p.is_file() and not p.name.startswith(".") for p in claims.rglob("*")) if claims.is_dir() else 0,
    )


def _ordered(cache: Cache) -> list[Fingerprint]:
    return sorted(cache.producers.values(), key=lambda f: (f.modality != "text", f.short))


@dataclass(frozen=True)
class _Holding:
    fingerprint: Fingerprint
    view: str
    shards: ShardSet
    failed: KeyIndex


def _failed(cache: Cache, fingerprint: Fingerprint, view: str) -> KeyIndex:
    return KeyIndex.from_shards([failed_keys(read_failures(cache, fingerprint, view))])


def _time(paths: Sequence[Path]) -> str | None:
    newest = max((path.stat().st_mtime for path in paths), default=None)
    return None if newest is None else datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == _HEX_DIGEST


def _producer(cache: Cache, fingerprint: Fingerprint, own: Sequence[_Holding]) -> ProducerStatus:
    siblings = [f for f in cache.producers.values() if f.modality == fingerprint.modality and f is not fingerprint]
    changes = diff_documents(siblings[0].identity, fingerprint.identity) if siblings else ()
    shards = [shard for holding in own for shard in holding.shards.shards]
    outputs = {name: width for holding in own for name, width in holding.shards.widths.items()}
    source, defaults = fingerprint.source, (cache.defaults.compute_dtype, cache.defaults.storage_dtype)
    return ProducerStatus(
        fingerprint.digest,
        fingerprint.modality,
        fingerprint.model_name,
        source.get("revision"),
        source.get("path"),
        str(fingerprint.identity["compute_dtype"]),
        str(fingerprint.identity["storage_dtype"]),
        cache.views(fingerprint),
        outputs,
        len(shards),
        sum(shard.n_rows for shard in shards),
        sum(shard.size for shard in shards),
        _time([shard.path for shard in shards]),
        siblings[0].short if siblings else None,
        tuple(sorted(changes, key=lambda c: _is_digest(c.before) or _is_digest(c.after))),
        encoder_options(fingerprint, tuple(outputs), defaults),
    )


def _dataset(cache: Cache, name: str, holdings: Sequence[_Holding]) -> DatasetStatus:
    path = cache.sample_path(name)
    table = read_samples(path)
    codes, counts = np.unique(table.label_b, return_counts=True)
    classes = {"unknown" if b < 0 else table.class_names[b]: int(n) for b, n in zip(codes, counts, strict=True)}
    splits = {s: int((table.split == s).sum()) for s in ("train", "valid", "test", "")}
    return DatasetStatus(
        name,
        table.origin,
        _time([path]) or "",
        len(table),
        {s or "none": n for s, n in splits.items() if n},
        classes,
        {m: len(table.first_rows(m)) for m in ("text", "image")},
        audit(table, read_orphans(scan_folder(cache, name) / "orphans.json")),
        _coverage(table, holdings),
    )


def _coverage(table: SampleTable, holdings: Sequence[_Holding]) -> tuple[Coverage, ...]:
    contents = {m: table.unique_keys(m) for m in ("text", "image")}
    found: list[tuple[_Holding, str, int, int]] = []
    for holding in holdings:
        keys = contents[holding.fingerprint.modality]
        failed = holding.failed.contains(keys)
        for output in holding.shards.widths or ("",):
            stored = holding.shards.contains(output, keys) if output else np.zeros(len(keys), bool)
            found.append((holding, output, int(stored.sum()), int((failed & ~stored).sum())))
    begun = {h.fingerprint.modality for h, _, n_stored, n_failed in found if n_stored + n_failed}
    return tuple(
        Coverage(
            producer=holding.fingerprint.short,
            modality=holding.fingerprint.modality,
            view=holding.view,
            output=output,
            n_contents=len(contents[holding.fingerprint.modality]),
            n_stored=n_stored,
            n_failed=n_failed,
            is_wanted=bool(n_stored + n_failed or not output or holding.fingerprint.modality not in begun),
        )
        for holding, output, n_stored, n_failed in found
    )
