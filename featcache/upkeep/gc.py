"""Dropping what no sample refers to and what exists twice: whole shards, and parts of shards if asked to."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache, unit_name
from featcache.cache.index import update_index
from featcache.cache.layout import check_folders, is_claim, is_temporary, walk_cache
from featcache.cache.lease import sole_lease
from featcache.cache.requests import requested_datasets
from featcache.cache.samples import SampleTable, read_samples
from featcache.cache.shard import SUFFIX, Shard, read_shard
from featcache.cache.shard_writing import copy_rows
from featcache.errors import FeatcacheError
from featcache.files.claims import is_abandoned
from featcache.files.inside import check_inside
from featcache.files.publish import is_leftover
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import KeyIndex
from featcache.store.shard_set import ShardSet
from featcache.upkeep.verify import verify

__all__ = ["DeadRows", "GcReport", "collect_garbage"]


@dataclass(frozen=True)
class DeadRows:
    """Rows of one shard that nothing needs.

    Attributes
    ----------
    path : Path
        Where the shard is.
    size : int
        Size of its file in bytes.
    n_rows, n_unreferenced, n_duplicate : int
        Rows; those that no sample refers to; of the others, those of which a shard of smaller name has every output.
    """

    path: Path
    size: int
    n_rows: int
    n_unreferenced: int
    n_duplicate: int

    @property
    def n_dead(self) -> int:
        """Rows that can go."""
        return self.n_unreferenced + self.n_duplicate

    @property
    def is_whole(self) -> bool:
        """Whether no row is needed."""
        return self.n_dead == self.n_rows


@dataclass(frozen=True)
class GcReport:
    """What can go, and whether it went.

    Attributes
    ----------
    shards : tuple of DeadRows
        Shards with rows that nothing needs.
    leftovers : tuple of Path
        Temporary files and claims whose owners are dead, or of elsewhere and silent for a day.
    removed, published : tuple of Path
        Files that are gone now, and shards that were written in their place; empty in a dry run.
    n_bytes_freed : int
        Difference that this made on disk.
    """

    shards: tuple[DeadRows, ...]
    leftovers: tuple[Path, ...]
    removed: tuple[Path, ...]
    published: tuple[Path, ...]
    n_bytes_freed: int


@dataclass(frozen=True)
class _Work:
    dead: DeadRows
    shard: Shard
    live: NDArray[np.int64]


def collect_garbage(
    cache: Cache,
    *,
    delete: bool = False,
    compact: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> GcReport:
    """Find, and with ``delete`` remove, what no sample of any data set refers to and what exists twice.

    A content is readable at every moment: what replaces a shard is published before the shard goes. Extractions and
    deleting keep each other out: contents that an extraction believes to be there must not go.

    Parameters
    ----------
    cache : Cache
        The cache to look through.
    delete : bool
        Remove shards of which no row is needed, and leftovers. Every byte is verified before.
    compact : bool
        With ``delete``: write the rows that are needed of the other shards anew, then remove those.
    progress : callable
        Called while the cache is verified, with (shards checked, shards).

    Raises
    ------
    FeatcacheError
        If no data set is left, the only sample table of one is in the quarantine, or something is damaged: then what
        looks superfluous may be the only good copy. With ``delete`` also if an extraction is at work, or a folder of
        the cache is a link.
    """
    if not delete:
        work, leftovers = _survey(cache)
        return GcReport(tuple(item.dead for item in work), leftovers, (), (), 0)
    check_folders(cache.path)
    with sole_lease(cache.path):
        _check_tables(cache)
        if not (report := verify(cache, deep=True, progress=progress)).is_sound:
            problem = report.problems[0]
            raise FeatcacheError(
                f"{problem.message} ({len(report.problems)} problems in all): nothing is removed from a damaged cache, "
                "run `featcache repair` first"
            )
        work, leftovers = _survey(cache)
        return _delete(cache, work, leftovers, compact=compact)


def _survey(cache: Cache) -> tuple[list[_Work], tuple[Path, ...]]:
    """Find shards with rows to spare, and what was left behind."""
    _check_tables(cache)
    _check_requests(cache)
    tables = [read_samples(cache.sample_path(name)) for name in cache.datasets]
    work = [
        found for f in cache.producers.values() for view in cache.views(f) for found in _find(cache, f, view, tables)
    ]
    return work, tuple(_leftovers(cache))


def _delete(cache: Cache, work: Sequence[_Work], leftovers: tuple[Path, ...], *, compact: bool) -> GcReport:
    """Remove what was found."""
    rewritten = {item.dead.path: _rewrite(item, cache) for item in work if compact and not item.dead.is_whole}
    published = tuple(path for path in rewritten.values() if path is not None)
    # A shard that holds just what is needed of another one stays in its place, also if it was the superfluous copy.
    doomed = [
        item.dead.path
        for item in work
        if (item.dead.is_whole or rewritten.get(item.dead.path)) and item.dead.path not in published
    ]
    freed = sum(path.stat().st_size for path in (*doomed, *leftovers)) - sum(p.stat().st_size for p in published)
    if doomed:
        # The index forgets them first: killed in between, it is merely stale.
        update_index(cache, without=doomed)
    for path in (*doomed, *leftovers):
        check_inside(path, root=cache.path)
        path.unlink(missing_ok=True)
    return GcReport(tuple(item.dead for item in work), leftovers, (*doomed, *leftovers), published, freed)


def _find(cache: Cache, fingerprint: Fingerprint, view: str, tables: Sequence[SampleTable]) -> Iterator[_Work]:
    """Yield the shards of one producer and view that have rows to spare, smallest name first."""
    shards = ShardSet.open(cache, fingerprint, view).shards
    needed = KeyIndex.from_shards([table.unique_keys(fingerprint.content) for table in tables])
    seen: dict[str, list[NDArray[np.uint8]]] = {}
    for shard in shards:
        keys = np.asarray(shard.map(shard.key))
        referenced = needed.contains(keys)
        twice = np.ones(len(keys), bool)
        for output in shard.outputs:
            twice &= KeyIndex.from_shards(seen.get(output, [])).contains(keys)
        live = referenced & ~twice
        for output in shard.outputs:
            seen.setdefault(output, []).append(keys[live])
        if not live.all():
            n_duplicate = int((referenced & twice).sum())
            dead = DeadRows(shard.path, shard.size, len(keys), int((~referenced).sum()), n_duplicate)
            yield _Work(dead, shard, np.flatnonzero(live))


def _rewrite(item: _Work, cache: Cache) -> Path | None:
    """Publish what is needed of a shard under its own name; None if another shard has that name, with other rows."""
    shard = item.shard
    keys = np.asarray(shard.map(shard.key)[item.live])
    path = shard.path.with_name(unit_name(keys, shard.header.view, tuple(shard.outputs)) + SUFFIX)
    if not copy_rows(shard, item.live, path, root=cache.path):
        # A unit some of whose contents failed has a name that covers those as well.
        there = read_shard(path)
        if there.outputs.keys() != shard.outputs.keys() or not np.array_equal(there.map(there.key), keys):
            return None
    return path


def _check_tables(cache: Cache) -> None:
    """Raise if sample tables are missing: nothing would refer to the vectors of their data sets."""
    status = shlex.join(["featcache", "status", str(cache.path)])
    for path in sorted(cache.path.glob(f"quarantine/*/samples/*{SUFFIX}")):
        name = path.stem
        if path.is_file() and name not in cache.datasets:
            raise FeatcacheError(
                f"the sample table of data set {name!r} is in quarantine, so that its vectors would all go: "
                f"`{status}` says how to make the table anew; if the data set may go, delete {path}"
            )
    if not cache.datasets:
        raise FeatcacheError(
            f"cache {str(cache.path)!r} has no data set, so that everything would go: delete the folder instead"
        )


def _check_requests(cache: Cache) -> None:
    """Raise if a data set of which something was asked for has no sample table: not yet, or not any more."""
    if lost := sorted(set(requested_datasets(cache)) - set(cache.datasets)):
        status = shlex.join(["featcache", "status", str(cache.path)])
        raise FeatcacheError(
            f"data set {lost[0]!r} has no sample table, so that its vectors would all go: `{status}` says how to make "
            f"it anew; if the data set may go, delete {cache.path / 'requests' / lost[0]}"
        )


def _leftovers(cache: Cache) -> Iterator[Path]:
    """Yield temporary files and claims of which nobody is the owner any more; strangers' files are not rubbish."""
    for path, name in walk_cache(cache.path):
        with suppress(OSError):  # gone meanwhile
            is_rubbish = is_leftover(path) if is_temporary(name) else is_claim(name) and is_abandoned(path)
            if is_rubbish and stat.S_ISREG(path.lstat().st_mode):
                yield path
