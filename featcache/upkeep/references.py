"""What the documents of a cache name and is not there: lost, or never written because its writer was killed.

An extraction writes encoder documents, the frozen plan, requests, the sample table, what could not be read, what the
source lacked, and then shards and failures, in this order. Killed, it leaves nothing that names something earlier in
this order which is not there, but for requests and plans: they come before the table of the data set that they name.
One that is given up because too many pictures cannot be read leaves requests and the list of them, and no table.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featcache.cache.folder import Cache
from featcache.cache.index import Index
from featcache.cache.orphans import orphans_path, scan_folder
from featcache.cache.requests import Request
from featcache.cache.samples import UNREADABLE, SampleTable
from featcache.cache.shard import SUFFIX
from featcache.identity.fingerprint import SHORT
from featcache.upkeep.damage import Note, Problem
from featcache.upkeep.documents import Documents

__all__ = ["find_lost", "has_lost_record", "unread_path", "unreadable"]

_OF_A_DATASET = ("requests", "plans", "failures/samples")


def find_lost(cache: Cache, documents: Documents, index: Index) -> Iterator[Problem | Note]:
    """Yield what is named and is not there: problems, or notes where a killed extraction leaves the same."""
    yield from _producers(cache, documents, index)
    yield from _tables(cache, documents)
    for table in documents.tables:
        yield from _records(cache, documents, table)


def unread_path(cache: Cache, dataset: str) -> Path:
    """Return the file of the pictures of a data set that could not be read."""
    return scan_folder(cache, dataset) / "read.json"


def unreadable(table: SampleTable) -> tuple[str, ...]:
    """Return the samples whose pictures could not be read."""
    return tuple(table.sample_id[int(row)] for row in np.flatnonzero(table.image_status == UNREADABLE))


def has_lost_record(cache: Cache, documents: Documents, table: SampleTable) -> bool:
    """Whether the pictures of a data set that could not be read were on record and are not any more."""
    was_there = table.dataset in documents.scanned and bool(unreadable(table))
    return was_there and not os.path.lexists(unread_path(cache, table.dataset))


def _producers(cache: Cache, documents: Documents, index: Index) -> Iterator[Problem]:
    """Find encoders that have lost their document: it is written before anything that names it."""
    named: dict[str, dict[str, None]] = {}
    for folder in documents.folders:
        named.setdefault(folder.name, {})[folder.parent.name] = None
    for plan in documents.plans:
        for frozen in plan.producers:
            named.setdefault(frozen.fingerprint[:SHORT], {})[f"a plan of data set {plan.dataset!r}"] = None
    for request in documents.requests:
        named.setdefault(request.fingerprint[:SHORT], {})[f"a request of data set {request.dataset!r}"] = None
    for short in index.encoders:
        named.setdefault(short, {})["the index"] = None
    asked = {request.fingerprint[:SHORT]: request for request in documents.requests}
    for short, who in sorted(named.items()):
        path = cache.path / "encoders" / f"{short}.json"
        # One that is there is damaged or misplaced if it is not that of the producer, and told of as such.
        if not os.path.lexists(path):
            what = f"producer {short!r}, named by {', '.join(who)}, has no readable document"
            is_copied = short in index.encoders
            how = _bring_back(cache, asked.get(short), is_copied=is_copied)
            yield Problem(path, f"{what}; {how}", is_mendable=is_copied)


def _bring_back(cache: Cache, request: Request | None, *, is_copied: bool) -> str:
    if is_copied:
        return "`featcache repair` makes it anew from the copy in the index"
    if request is None:
        return "the `featcache extract` that ran it brings it back, and its vectors with it"
    words = ["featcache", "extract", request.origin, "--cache", str(cache.path), "--name", request.dataset]
    return (
        f"`{shlex.join(words)}` with the model and options that it was run with brings it back, and its vectors with "
        "it; to forget it, delete what names it"
    )


def _tables(cache: Cache, documents: Documents) -> Iterator[Problem | Note]:
    """Find data sets without a sample table."""
    asked = {request.dataset for request in documents.requests}
    names = {*documents.unread, *documents.scanned, *asked, *(plan.dataset for plan in documents.plans)}
    aside = {path.stem for path in cache.path.glob(f"quarantine/*/samples/*{SUFFIX}")}
    status = shlex.join(["featcache", "status", str(cache.path)])
    for name in sorted(names):
        path = cache.sample_path(name)
        if os.path.lexists(path):
            continue
        extract = shlex.join(["featcache", "extract", "DATA", "--cache", str(cache.path), "--name", name])
        again = f"`{status}` says how to read it again" if name in asked else f"`{extract}` reads it again"
        folders = [folder for folder in _OF_A_DATASET if os.path.lexists(cache.path / folder / name)]
        forget = f"to forget the data set, delete {' and '.join(f'{folder}/{name}' for folder in folders)}"
        if name in aside:
            yield Note(path, f"the sample table of data set {name!r} is in the quarantine: {again}; {forget}")
        elif name in documents.scanned or documents.unread.get(name) == ():
            what = f"the sample table of data set {name!r} was there and is gone"
            yield Problem(path, f"{what}: {again}; {forget}", is_mendable=False)
        else:
            why = "stopped before it" if name not in documents.unread else "given up while its pictures were read"
            what = f"data set {name!r} has no sample table: an extraction was {why}, or it is lost"
            yield Note(path, f"{what}; {again}; {forget}")


def _records(cache: Cache, documents: Documents, table: SampleTable) -> Iterator[Problem | Note]:
    """Hold a sample table against what is on record of the reading of its data set."""
    name, path, wanted = table.dataset, unread_path(cache, table.dataset), unreadable(table)
    again = "the next `featcache extract` of it writes that anew"
    if name in documents.unread:
        found = {failure.sample_id for failure in documents.unread[name]}
        if found != set(wanted):
            whose = _owner(documents, found)
            what = (
                f"it names other pictures that could not be read ({len(found)}) than the sample table ({len(wanted)})"
            )
            yield Note(path, f"{what}{whose}: if no extraction is at work, or was given up because of them, {again}")
    elif has_lost_record(cache, documents, table):
        what = f"the record of the unreadable pictures of data set {name!r} ({len(wanted)} in its sample table) is lost"
        how = "`featcache repair` makes one without the reasons, the next `featcache extract` one with them"
        yield Problem(path, f"{what}; {how}")
    elif wanted and not os.path.lexists(path):
        what = f"why pictures of data set {name!r} ({len(wanted)}) could not be read is not on record"
        yield Note(path, f"{what}: {again}")
    skipped = any(request.skips_orphans for request in documents.requests if request.dataset == name)
    if skipped and not os.path.lexists(orphans_path(cache, name)):
        yield Note(orphans_path(cache, name), f"what of data set {name!r} was left out is not on record: {again}")


def _owner(documents: Documents, found: set[str]) -> str:
    names = [table.dataset for table in documents.tables if found and found == set(unreadable(table))]
    return f", but those of data set {names[0]!r}" if names else ""
