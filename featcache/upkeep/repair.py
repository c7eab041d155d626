"""Mending a cache: what is damaged is moved aside, what has a copy is made anew, what is lost is named."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from featcache.cache.failures import Failure, write_failures
from featcache.cache.folder import Cache, Defaults, cache_document, has_lost_marker
from featcache.cache.index import Index, read_index, update_index
from featcache.cache.layout import check_folders
from featcache.dataset.loose import is_loose_name
from featcache.errors import FeatcacheError, ShardError
from featcache.files.inside import check_inside, make_folder
from featcache.files.publish import publish_new
from featcache.files.sealed import read_json, write_sealed
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import KEY_BYTES
from featcache.upkeep.damage import Problem
from featcache.upkeep.documents import read_documents
from featcache.upkeep.references import has_lost_record, unread_path, unreadable
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import finish_steps, read_again_steps
from featcache.upkeep.verify import VerifyReport, verify

__all__ = ["Moved", "RepairReport", "repair"]


@dataclass(frozen=True)
class Moved:
    """One file that was moved.

    Attributes
    ----------
    problem : Problem
        Where it was, what was wrong, and what is lost with it.
    path : Path
        Where it is now: in the quarantine, or where it belongs.
    is_restored : bool
        Whether a copy of what belongs in its place has taken it.
    """

    problem: Problem
    path: Path
    is_restored: bool = False


@dataclass(frozen=True)
class RepairReport:
    """What was mended.

    Attributes
    ----------
    moved : tuple of Moved
        Files that were damaged or in the place of others.
    missing : tuple of Problem
        Shards that the index knew and that are gone.
    remade : tuple of Path
        Other files that were gone, made anew as far as the rest of the cache tells.
    commands : tuple of str
        What brings the lost rows back, but for those of scans.
    after : VerifyReport
        The cache as it is now.
    scanned : tuple of str
        Data sets that lost rows and were read to be judged: the next scan of them brings these back.
    """

    moved: tuple[Moved, ...]
    missing: tuple[Problem, ...]
    remade: tuple[Path, ...]
    commands: tuple[str, ...]
    after: VerifyReport
    scanned: tuple[str, ...] = ()


def repair(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> RepairReport:
    """Move damaged files of a cache into its quarantine, and misplaced ones where they belong; rebuild the index.

    Nothing is deleted. On a sound cache nothing but the index is written. Safe to interrupt and to start again.

    Parameters
    ----------
    path : path
        The cache folder; its ``cache.json`` may be damaged or lost too.
    progress : callable
        Called with (shards checked, shards).

    Raises
    ------
    FeatcacheError
        If the folder is no cache of this format version, its defaults are lost, or a folder of it is a link.
    """
    root = Path(path)
    check_folders(root)
    index = read_index(root)
    quarantine = _Quarantine(root, root / "quarantine" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"))
    moved, remade = _restore_marker(root, index, quarantine)
    encoders, copied = _restore_encoders(Cache.open(root), index, quarantine)
    cache = Cache.open(root)
    before = verify(cache, deep=True, progress=progress)
    missing = [p for p in before.problems if p.loss is not None and not os.path.lexists(p.path)]
    found = [Moved(p, quarantine.take(p.path)) for p in before.problems if os.path.lexists(p.path)]
    moved += encoders + _put_back(found, root)
    remade += copied + _record_unread(cache)
    update_index(cache)
    # What is left was read byte by byte just now: looking at its structure again is enough.
    after = verify(cache)
    commands, scanned = _commands(cache, [m.problem for m in moved if m.problem.home != m.path] + missing)
    return RepairReport(tuple(moved), tuple(missing), tuple(remade), commands, replace(after, deep=True), scanned)


@dataclass(frozen=True)
class _Quarantine:
    root: Path
    folder: Path

    def take(self, path: Path) -> Path:
        """Move a file here, keeping its relative path."""
        check_inside(path, root=self.root)
        target = self.folder / path.relative_to(self.root)
        make_folder(target.parent, root=self.root)
        return path.rename(target)


def _put_back(moved: Sequence[Moved], root: Path) -> list[Moved]:
    """Move files from the quarantine to where they belong, unless something is there."""
    return [replace(m, path=m.problem.home) if m.problem.home and _returns(m, root) else m for m in moved]


def _returns(moved: Moved, root: Path) -> bool:
    path, home = moved.problem.path, moved.problem.home
    # The file itself names its home: it must be a place of the same kind, and none that leads elsewhere.
    if home is None or not home.is_relative_to(root):
        return False
    here, there = path.relative_to(root).parts, home.relative_to(root).parts
    if len(here) != len(there) or here[0] != there[0] or any(p.startswith(".") or "\0" in p for p in there):
        return False
    make_folder(home.parent, root=root)
    return publish_new(moved.path, home)


def _restore_marker(root: Path, index: Index, quarantine: _Quarantine) -> tuple[list[Moved], list[Path]]:
    """Make ``cache.json`` anew if it is damaged or lost."""
    path = root / "cache.json"
    if os.path.lexists(path):
        try:
            Cache.open(root)
            return [], []
        except ShardError as error:
            problem = Problem(path, str(error))
        defaults = _defaults(root, index)
        moved = [Moved(problem, quarantine.take(path), True)]
    elif has_lost_marker(root) or any((root / "quarantine").glob("*/cache.json")):
        defaults, moved = _defaults(root, index), []
    else:
        return [], []
    write_sealed(path, cache_document(defaults), root=root)
    return moved, [] if moved else [path]


def _defaults(root: Path, index: Index) -> Defaults:
    if index.defaults:
        return Defaults(**{name: str(value) for name, value in index.defaults.items()})
    found: set[Defaults] = set()
    spectral: set[Defaults] = set()
    for path in sorted((root / "encoders").glob("[!.]*.json")):
        try:
            identity = Fingerprint.from_document(read_json(path), str(path)).identity
            dtypes = Defaults(str(identity["compute_dtype"]), str(identity["storage_dtype"]))
        except (FeatcacheError, KeyError):
            continue
        # Spectral features are computed in float32 whatever the default is.
        (spectral if identity["modality"] == "spectral" else found).add(dtypes)
    found = found or spectral
    if len(found) != 1:
        raise FeatcacheError(
            f"{root / 'cache.json'} is damaged or gone, and its defaults are lost: neither the index nor the "
            f"{len(found)} different dtypes of the encoders tell them; put it back from a copy of the cache, or "
            "extract into a new folder"
        )
    return found.pop()


def _restore_encoders(cache: Cache, index: Index, quarantine: _Quarantine) -> tuple[list[Moved], list[Path]]:
    """Put encoder documents into their places, and make those anew that are damaged or lost and have a copy."""
    moved, copied = [], []
    folder = cache.path / "encoders"
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            cache.producer(path.stem)
        except ShardError as error:
            moved.append(Moved(Problem(path, str(error), home=error.home), quarantine.take(path)))
    moved = _put_back(moved, cache.path)
    for short, document in index.encoders.items():
        fingerprint, path = _copy(document, short), folder / f"{short}.json"
        if (
            fingerprint is not None
            and not os.path.lexists(path)
            and write_sealed(path, fingerprint.to_document(), root=cache.path)
        ):
            copied.append(path)
    restored = {m.problem.path for m in moved}.intersection(copied)
    moved = [replace(m, is_restored=m.problem.path in restored) for m in moved]
    return moved, [path for path in copied if path not in restored]


def _copy(document: object, short: str) -> Fingerprint | None:
    try:
        fingerprint = Fingerprint.from_document(document, "index.json") if isinstance(document, dict) else None
    except ShardError:
        return None
    return fingerprint if fingerprint is not None and fingerprint.short == short else None


def _record_unread(cache: Cache) -> list[Path]:
    """Put on record which pictures could not be read, where the record is gone: sample tables know, but not why."""
    documents = read_documents(cache)
    why = "it could not be read; the record of the reason was damaged or lost"
    made = []
    for table in documents.tables:
        if has_lost_record(cache, documents, table):
            path = unread_path(cache, table.dataset)
            rows = [Failure("00" * KEY_BYTES, sample, "read", "OSError", why, 1, "") for sample in unreadable(table)]
            write_failures(path.parent, path.stem, rows, root=cache.path)
            made.append(path)
    return made


def _commands(cache: Cache, lost: Sequence[Problem]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compose what brings back the rows that samples need, what failed, and the data sets whose tables are gone.

    Returns
    -------
    tuple of (tuple of str, tuple of str)
        The commands, and the data sets that need none: those of scans.
    """
    hit = {name for problem in lost if problem.loss for name, n in problem.loss.samples.items() if n}
    unknown = {p.path.parents[1].name for p in lost if p.path.is_relative_to(cache.path / "failures")}
    try:
        status = cache_status(cache)
    except ShardError:
        return (), ()
    hit |= {d.name for d in status.datasets if unknown & {producer for producer, _ in d.missing}}
    origins = {dataset.name: dataset.origin for dataset in status.datasets if dataset.name in hit}
    origins |= {name: requests[0].origin for name, requests in status.unread.items()}
    scanned = tuple(name for name, origin in origins.items() if is_loose_name(name, origin))
    steps = [step for name in status.unread if name not in scanned for step in read_again_steps(status, name)]
    finished = (dataset for dataset in status.datasets if dataset.name in hit and dataset.name not in scanned)
    steps += [step for dataset in finished for step in finish_steps(status, dataset)]
    return tuple(dict.fromkeys(shlex.join(step.command) for step in steps)), scanned
