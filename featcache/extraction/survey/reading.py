"""By which rules a data set was read before: what a cache knows goes on with the labels that it has."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np

from featcache.cache.folder import Cache
from featcache.cache.requests import read_requests
from featcache.cache.samples import PRESENT, SampleTable, read_samples
from featcache.dataset.loose import is_loose_name
from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import LATEST, Reading
from featcache.errors import FeatcacheError, ShardError
from featcache.identity.fingerprint import SHORT
from featcache.identity.terms import Content

__all__ = ["check_reading", "read_before", "read_loosely", "samples_gone", "seed_before"]


def read_before(cache: Cache, name: str, *, is_stated: bool = False) -> Reading | None:
    """Return how a data set was read before, None if the cache does not know it.

    The sample table knows it; where that is gone, what was asked for of the data set does.

    Parameters
    ----------
    cache : Cache
        The folder.
    name : str
        The data set's.
    is_stated : bool
        The user states now what labels mean, so that only the rules are needed.

    Raises
    ------
    FeatcacheError
        It was read by rules of a later version, or its table is gone and it was read in several ways.
    """
    table = _table(cache, name)
    requests = read_requests(cache, name) if table is None else ()
    found = {Reading(r.rules, r.labels, r.columns, r.root, r.splits) for r in (requests if table is None else (table,))}
    if len({(reading.rules, reading.labels) for reading in found}) > 1 and not is_stated:
        stated = " and ".join(sorted(repr(reading.labels or "auto") for reading in found))
        raise FeatcacheError(
            f"the sample table of {name!r} is gone, and labels were read as {stated} before it: --labels says which"
        )
    reading = min(found, key=astuple, default=None)
    if reading is not None and reading.rules > LATEST:
        raise FeatcacheError(
            f"data set {name!r} was read by the rules {reading.rules}, this version knows those to {LATEST}: update it"
        )
    return reading


def seed_before(cache: Cache, name: str) -> int | None:
    """Return the seed by which a data set was split before; None if its splits were its own, or it is not known.

    The sample table knows it; where that is gone, what was asked for of the data set last does.
    """
    if (table := _table(cache, name)) is not None:
        return table.split_seed
    seeds = {request.seed for request in read_requests(cache, name)}
    return seeds.pop() if len(seeds) == 1 else None


def samples_gone(manifest: Manifest, cache: Cache) -> tuple[str, ...]:
    """Return the samples that a data set had when it was last read, and has no more, in their order."""
    table = _table(cache, manifest.name)
    if table is None:
        return ()
    there = set(manifest.samples.sample_id)
    return tuple(sample_id for sample_id in table.sample_id if sample_id not in there)


def read_loosely(cache: Cache, name: str) -> frozenset[Content] | None:
    """Return the contents for which a data set was read that is to be judged; None of others.

    See `featcache.dataset.loose`.
    """
    requests = read_requests(cache, name)
    if not requests or not all(is_loose_name(name, request.origin) for request in requests):
        return None
    return frozenset(cache.producer(request.fingerprint[:SHORT]).content for request in requests)


def check_reading(manifest: Manifest, cache: Cache, scanned: SampleTable) -> None:
    """Raise if names, labels or captions of known samples would change by another reading that nobody asked for."""
    table = _table(cache, manifest.name)
    stated = manifest.reading.labels
    if table is not None and table.rules < scanned.rules:
        _check_ids(table, scanned)
    if table is None or (table.rules, table.labels) == (scanned.rules, scanned.labels):
        return
    if stated and stated != table.labels:
        return
    row_of = {sample_id: row for row, sample_id in enumerate(table.sample_id)}
    pairs = [(row_of[sample_id], row) for row, sample_id in enumerate(scanned.sample_id) if sample_id in row_of]
    odd = [row for old, row in pairs if _facts(table, old) != _facts(scanned, row)]
    if odd:
        raise FeatcacheError(
            f"data set {manifest.name!r} would get other labels or captions in {len(odd)} samples than it has in this "
            f"cache, the first {scanned.sample_id[odd[0]]!r}: read it as before, Manifest.from_source(…, earlier=…), "
            "or state labels='auto' to read its labels anew"
        )


def _check_ids(table: SampleTable, scanned: SampleTable) -> None:
    """Raise if pictures would be called otherwise than in the cache: by their files, or by a caption of several."""
    names = dict(zip(table.source, table.sample_id, strict=True))
    for source, sample_id in zip(scanned.source, scanned.sample_id, strict=True):
        before = names.get(source, sample_id)
        name = source.removeprefix(f"{scanned.origin}/")
        if before != sample_id and (sample_id == name or sample_id.rpartition("#")[0] == before):
            raise FeatcacheError(
                f"data set {scanned.dataset!r} would have sample {sample_id!r}, which is {before!r} in this cache: "
                "read it as before, Manifest.from_source(…, earlier=…)"
            )


def _table(cache: Cache, name: str) -> SampleTable | None:
    try:
        return read_samples(cache.sample_path(name)) if name in cache.datasets else None
    except ShardError:
        return None


def _facts(table: SampleTable, row: int) -> tuple[int, str, bool]:
    label_b = int(table.label_b[row])
    name = table.class_names[label_b] if label_b >= 0 else ""
    return int(table.label_a[row]), name, bool(np.equal(table.text_status[row], PRESENT))
