"""What is in a cache, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache.folder import Cache
from featcache.cache.index import load_index
from featcache.cache.orphans import orphans_path, read_orphans
from featcache.cache.plans import frozen_plans
from featcache.cache.requests import Request, read_requests, requested_datasets
from featcache.cache.samples import SampleTable, read_samples
from featcache.encoders.build import encoder_options
from featcache.files.sealed import read_json
from featcache.identity.fingerprint import SHORT, FieldChange, Fingerprint, diff_documents
from featcache.identity.outputs import natural_order
from featcache.identity.terms import CONTENTS, MODALITIES, Modality
from featcache.store.selection import find_producers
from featcache.upkeep.audit import Audit, audit
from featcache.upkeep.coverage import Coverage, Division, cover, divide, find_holdings
from featcache.upkeep.failure_list import count_contents, list_failures
from featcache.upkeep.holding import Holding
from featcache.upkeep.overlap import Overlap, find_overlaps

__all__ = ["CacheStatus", "DatasetStatus", "ProducerStatus", "cache_status"]

_HEX_DIGEST = 64


@dataclass(frozen=True)
class DatasetStatus:
    """One data set: its samples, what is odd about them, and how far they are covered.

    Attributes
    ----------
    name, origin : str
        Its name in the cache, and what it was read from.
    scanned : str
        When its samples were last read: UTC, ISO 8601.
    n_samples : int
        How many samples it has.
    splits, classes : mapping
        Samples of each; ``none`` and ``unknown`` for those without.
    n_contents : mapping of content to int
        Different captions and pictures: what an encoder has to do.
    audit : Audit
        What is odd about it: duplicates, leaks, contradictions, gaps.
    coverage : tuple of Coverage
        One per producer, view and output.
    divisions : tuple of Division
        Extractions in parts of which some are missing.
    split_seed : int or None
        Seed of the split, if it was made here.
    requests : tuple of Request
        What was last asked for, one a producer.
    labels : mapping
        Samples that are ``real``, ``ai`` and ``unknown``.
    is_trainable : bool
        Whether split train has real and AI samples, and split valid labelled ones.
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
    divisions: tuple[Division, ...]
    split_seed: int | None
    requests: tuple[Request, ...]
    labels: Mapping[str, int]
    is_trainable: bool

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
        What tells it from others; ``path`` is the model's folder, None for one of the hub.
    compute_dtype, storage_dtype : str
        Dtypes of the forward, and of the vectors on disk.
    views : tuple of str
        Perturbations under which it has stored something.
    outputs : mapping of str to int
        Stored vectors and their widths.
    n_shards, n_rows, n_bytes : int
        How many shards it filled, their rows and their size.
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
    modality: Modality
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
        The folder of the cache.
    created : str or None
        UTC, ISO 8601; None if it does not say.
    compute_dtype, storage_dtype : str
        What extractions use unless told otherwise.
    producers, datasets
        The encoders and the data sets that are in it.
    overlaps : tuple of Overlap
        What the data sets have in common.
    n_failures, n_failed_contents : int
        Records of ``featcache failures --json``, one for each encoder and view; and pictures and captions that failed,
        each once.
    n_claims : int
        Work units that some process has begun and not ended; it may be dead.
    n_datasets : int
        Data sets in the cache; more than ``datasets`` where only one was looked at.
    unread : mapping of str to tuple of Request
        What was asked for of data sets that have no sample table (any more).
    """

    path: str
    created: str | None
    compute_dtype: str
    storage_dtype: str
    producers: tuple[ProducerStatus, ...]
    datasets: tuple[DatasetStatus, ...]
    overlaps: tuple[Overlap, ...]
    n_failures: int
    n_failed_contents: int
    n_claims: int
    n_datasets: int
    unread: Mapping[str, tuple[Request, ...]]

    @property
    def n_missing(self) -> int:
        """Contents that data sets lack of producers that were run on them, and that have not failed."""
        return sum(n for dataset in self.datasets for n in dataset.missing.values())

    @property
    def nameless(self) -> tuple[str, ...]:
        """Short fingerprints of encoders that were run here and whose documents are gone."""
        asked = {request.fingerprint for dataset in self.datasets for request in dataset.requests}
        return tuple(sorted(f[:SHORT] for f in asked - {producer.fingerprint for producer in self.producers}))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able copy."""
        return asdict(self) | {"n_missing": self.n_missing, "nameless": self.nameless}


def cache_status(cache: Cache, *, only: str | None = None) -> CacheStatus:
    """Look at everything in a cache; reads keys and tables, no features.

    Parameters
    ----------
    cache : Cache
        The cache to look at.
    only : str
        Look at this data set alone, and not at what it shares with others.

    Raises
    ------
    ShardError
        If a file is damaged.
    """
    known = load_index(cache)
    ordered = _ordered(cache)
    names = cache.datasets if only is None else (only,)
    requests = {name: read_requests(cache, name) for name in {*requested_datasets(cache), *names}}
    holdings = find_holdings(cache, ordered, known, [r for asked in requests.values() for r in asked])
    producers = tuple(_producer(cache, f, [h for h in holdings if h.fingerprint is f]) for f in ordered)
    created = read_json(cache.path / "cache.json").get("created")
    claims = cache.path / "claims"
    failures = list_failures(cache)
    return CacheStatus(
        str(cache.path),
        created if isinstance(created, str) else None,
        cache.defaults.compute_dtype,
        cache.defaults.storage_dtype,
        producers,
        tuple(_dataset(cache, name, holdings, requests[name]) for name in names),
        find_overlaps([read_samples(cache.sample_path(name)) for name in names]),
        len(failures),
        count_contents(failures),
        sum(p.is_file() and not p.name.startswith(".") for p in claims.glob("*/*/*")) if claims.is_dir() else 0,
        len(cache.datasets),
        {name: asked for name, asked in sorted(requests.items()) if asked and name not in cache.datasets},
    )


def _ordered(cache: Cache) -> list[Fingerprint]:
    return [f for modality in MODALITIES for f in sorted(find_producers(cache, modality), key=lambda f: f.short)]


def _time(paths: Sequence[Path]) -> str | None:
    newest = max((path.stat().st_mtime for path in paths), default=None)
    return None if newest is None else datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == _HEX_DIGEST


def _producer(cache: Cache, fingerprint: Fingerprint, own: Sequence[Holding]) -> ProducerStatus:
    siblings = [f for f in cache.producers.values() if f.modality == fingerprint.modality and f is not fingerprint]
    changes = diff_documents(siblings[0].identity, fingerprint.identity) if siblings else ()
    shards = [shard for holding in own for shard in holding.shards.shards]
    stored = {name: width for holding in own for name, width in holding.shards.widths.items()}
    outputs = {name: stored[name] for name in natural_order(stored)}
    source, defaults = fingerprint.source, (cache.defaults.compute_dtype, cache.defaults.storage_dtype)
    return ProducerStatus(
        fingerprint.digest,
        fingerprint.modality,
        fingerprint.model_name,
        source.get("revision"),
        source.get("path"),
        str(fingerprint.identity["compute_dtype"]),
        str(fingerprint.identity["storage_dtype"]),
        tuple(holding.view for holding in own if holding.shards.shards),
        outputs,
        len(shards),
        sum(shard.n_rows for shard in shards),
        sum(shard.size for shard in shards),
        _time([shard.path for shard in shards]),
        siblings[0].short if siblings else None,
        tuple(sorted(changes, key=lambda c: _is_digest(c.before) or _is_digest(c.after))),
        encoder_options(fingerprint, tuple(outputs), defaults),
    )


def _dataset(cache: Cache, name: str, holdings: Sequence[Holding], requests: tuple[Request, ...]) -> DatasetStatus:
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
        {c: len(table.first_rows(c)) for c in CONTENTS},
        audit(table, read_orphans(orphans_path(cache, name))),
        cover(table, holdings, requests),
        divide(table, frozen_plans(cache, name), holdings),
        table.split_seed,
        requests,
        {label: int((table.label_a == code).sum()) for label, code in (("real", 0), ("ai", 1), ("unknown", -1))},
        _is_trainable(table),
    )


def _is_trainable(table: SampleTable) -> bool:
    fitted, held_out = (table.label_a[table.split == split] for split in ("train", "valid"))
    return {0, 1} <= set(fitted.tolist()) and bool((held_out >= 0).any())
