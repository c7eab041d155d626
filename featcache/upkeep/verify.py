"""Proving that a cache is what its contract says, and telling what is lost where it is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.cache.folder import Cache
from featcache.cache.index import Index, Receipt, read_index
from featcache.cache.layout import is_known, is_temporary, walk_cache
from featcache.cache.shard import Shard, read_shard
from featcache.cache.shard_digests import verify_shard
from featcache.errors import ShardError
from featcache.files.digests import digest_bytes
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import prefixes
from featcache.upkeep.damage import Lack, Note, Problem, find_lacks, find_loss, sound_holding, views_of
from featcache.upkeep.derived import find_damaged
from featcache.upkeep.documents import read_documents
from featcache.upkeep.references import find_lost

__all__ = ["VerifyReport", "verify"]

_THREADS = max(2, min(8, os.cpu_count() or 2))


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, and what was found.

    Attributes
    ----------
    deep : bool
        Whether all bytes were read.
    n_shards, n_rows, n_bytes : int
        What was checked and found sound.
    problems : tuple of Problem
        Empty if the cache is sound.
    notes : tuple of Note
        A stale index, temporary files, strangers, links.
    lacks : tuple of Lack
        How many contents of each data set each producer lacks.
    """

    deep: bool
    n_shards: int
    n_rows: int
    n_bytes: int
    problems: tuple[Problem, ...]
    notes: tuple[Note, ...] = ()
    lacks: tuple[Lack, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class _Place:
    """Where a shard should be, and what it should be."""

    path: Path
    fingerprint: Fingerprint
    view: str
    receipt: Receipt | None


def verify(cache: Cache, *, deep: bool = False, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check structure, sizes, documents and tables of a cache; with ``deep`` every byte of every shard.

    Parameters
    ----------
    cache : Cache
        The cache to check.
    deep : bool
        Whether to read every byte and recompute all digests.
    progress : callable
        Called with (shards checked, shards), from the calling thread.
    """
    index = read_index(cache.path)
    documents = read_documents(cache)
    producers, tables, requests = documents.producers, documents.tables, documents.requests
    findings = [*find_damaged(cache, index, deep=deep), *documents.problems, *find_lost(cache, documents, index)]
    problems = [finding for finding in findings if isinstance(finding, Problem)]
    places = _places(cache, producers, index)
    sound: dict[tuple[str, str], list[Shard]] = {
        (f.short, v): [] for f in producers for v in views_of(cache, f, requests)
    }
    broken: list[tuple[_Place, str]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, (place, outcome) in enumerate(zip(places, pool.map(_outcome(deep), places), strict=True), 1):
            if isinstance(outcome, Shard):
                sound[place.fingerprint.short, place.view].append(outcome)
            else:
                broken.append((place, outcome))
            if progress:
                progress(number, len(places))
    names = {f.short: f for f in producers}
    holdings = {key: sound_holding(cache, names[key[0]], key[1], shards) for key, shards in sound.items()}
    for place, message in broken:
        holding = holdings[place.fingerprint.short, place.view]
        problems.append(Problem(place.path, message, find_loss(holding, place.path, place.receipt, tables)))
    lacks = [lack for holding in holdings.values() for table in tables for lack in find_lacks(holding, table, requests)]
    shards = [shard for group in sound.values() for shard in group]
    return VerifyReport(
        deep,
        len(shards),
        sum(shard.n_rows for shard in shards),
        sum(shard.size for shard in shards),
        tuple(problems),
        (
            *_index_notes(cache, index, places, producers),
            *(finding for finding in findings if isinstance(finding, Note)),
            *_strangers(cache),
        ),
        tuple(lacks),
    )


def _places(cache: Cache, producers: Sequence[Fingerprint], index: Index) -> list[_Place]:
    places = []
    for fingerprint in producers:
        folder = cache.path / "features" / fingerprint.short
        indexed = {path for path in index.receipts if path.parent.parent == folder}
        on_disk = {path for view in cache.views(fingerprint) for path in cache.shard_paths(fingerprint, view)}
        found = sorted(on_disk | indexed)
        places += [_Place(path, fingerprint, path.parent.name, index.receipts.get(path)) for path in found]
    return places


def _outcome(deep: bool) -> Callable[[_Place], Shard | str]:
    def check(place: _Place) -> Shard | str:
        try:
            return _check_shard(place, deep)
        except (ShardError, OSError) as error:
            return str(error)

    return check


def _check_shard(place: _Place, deep: bool) -> Shard:
    path, receipt = place.path, place.receipt
    if not os.path.lexists(path):
        raise ShardError(f"shard {path} is in the index, but not on disk")
    size = path.stat().st_size
    if receipt is not None and receipt.shard.size != size:
        raise ShardError(f"shard {path} has {size} bytes, its receipt in the index says {receipt.shard.size}")
    # A file that fits its receipt is, byte for byte, the one whose digests were checked for it.
    fits = deep and receipt is not None and digest_bytes(path) == receipt.sha256
    shard = receipt.shard if fits and receipt is not None else read_shard(path)
    header = shard.header
    if header.fingerprint != place.fingerprint.digest or header.view != place.view:
        raise ShardError(
            f"shard {path} holds rows of producer {header.fingerprint[:12]!r}, view {header.view!r}, "
            f"expected {place.fingerprint.short!r}, {place.view!r}"
        )
    if deep and not fits:
        verify_shard(shard)
        if receipt is not None:
            raise ShardError(f"shard {path} has another checksum than its receipt in the index")
    if receipt is not None and receipt.shard != shard:
        raise ShardError(f"shard {path} is laid out differently from its receipt in the index")
    _check_unique(shard)
    return shard


def _check_unique(shard: Shard) -> None:
    keys = np.asarray(shard.map(shard.key))
    if len(np.unique(prefixes(keys))) < len(keys):
        n_twice = len(keys) - len(np.unique(np.ascontiguousarray(keys), axis=0))
        if n_twice:
            raise ShardError(f"shard {shard.path} holds {n_twice} keys more than once")


def _index_notes(
    cache: Cache, index: Index, places: Sequence[_Place], producers: Sequence[Fingerprint]
) -> Iterator[Note]:
    path = cache.path / "index.json"
    if index.state == "missing" and places:
        yield Note(path, "the index is missing: rebuilt by `featcache repair` or the next extract")
    elif index.state == "intact":
        n_new = sum(place.receipt is None for place in places)
        if n_new or any(f.short not in index.encoders for f in producers):
            shards = f"{n_new} shard{'' if n_new == 1 else 's'} without receipt"
            yield Note(path, f"the index is stale ({shards}): rebuilt by repair or the next extract")


def _strangers(cache: Cache) -> Iterator[Note]:
    """Tell what a cache has besides the files of its format, and which of them are elsewhere."""
    links = []
    for path, name in walk_cache(cache.path):
        if path.is_symlink():
            if path.is_dir():
                yield Note(path, "a link: what is in it is read, and nothing is written, moved or deleted through it")
                continue
            links.append(path)
        if is_temporary(name):
            yield Note(path, "temporary file of a writer that is at work or died: `featcache gc` removes old ones")
        elif not is_known(name):
            yield Note(path, "no file of this format: left alone")
    if links:
        more = f", and {len(links) - 1:,} others are" if len(links) > 1 else ""
        yield Note(links[0], f"a link{more}: read like the file itself")
