"""Mending a cache: what is damaged is moved aside, what is derived is made anew, what is lost is named."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from featcache.cache import Cache, Defaults, cache_document
from featcache.errors import FeatcacheError, ShardError
from featcache.fingerprint import Fingerprint
from featcache.index import Index, read_index, update_index
from featcache.inside import check_inside, make_folder
from featcache.layout import check_folders
from featcache.sealed import read_json, read_sealed, write_sealed
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import finish_steps, read_again_steps
from featcache.upkeep.verify import Problem, VerifyReport, verify

__all__ = ["Moved", "RepairReport", "repair"]


@dataclass(frozen=True)
class Moved:
    """One file that was moved to the quarantine.

    Attributes
    ----------
    problem : Problem
        Where it was, what was wrong, and what is lost with it.
    path : Path
        Where it is now.
    is_restored : bool
        Whether an intact copy of its content has taken its place.
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
        Files in the quarantine.
    missing : tuple of Problem
        Shards that the index knew and that are gone.
    commands : tuple of str
        What brings the lost rows back.
    after : VerifyReport
        The cache as it is now.
    """

    moved: tuple[Moved, ...]
    missing: tuple[Problem, ...]
    commands: tuple[str, ...]
    after: VerifyReport


def repair(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> RepairReport:
    """Move damaged files of a cache into its quarantine and rebuild the index.

    Nothing is deleted. On a sound cache nothing but the index is written. Safe to interrupt and to start again.

    Parameters
    ----------
    path : path
        The cache folder; its ``cache.json`` may be damaged too.
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
    moved = _restore_marker(root, index, quarantine)
    moved += _restore_encoders(Cache.open(root), index, quarantine)
    cache = Cache.open(root)
    before = verify(cache, deep=True, progress=progress)
    missing = []
    for problem in before.problems:
        if not os.path.lexists(problem.path):
            missing += [problem] if problem.loss is not None else []
        elif problem.path.suffix:  # a producer's whole folder stays
            moved.append(Moved(problem, quarantine.take(problem.path)))
    update_index(cache)
    # What is left was read byte by byte just now: looking at its structure again is enough.
    after = verify(cache)
    lost = [m.problem for m in moved] + missing
    return RepairReport(tuple(moved), tuple(missing), _commands(cache, lost), replace(after, deep=True))


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


def _restore_marker(root: Path, index: Index, quarantine: _Quarantine) -> list[Moved]:
    """Make ``cache.json`` anew if its own checksum says that it is damaged."""
    path = root / "cache.json"
    is_there = os.path.lexists(path)
    interrupted = not is_there and any((root / "quarantine").glob("*/cache.json"))
    if not is_there and not interrupted:
        return []
    try:
        if not interrupted and read_sealed(path)[1]:
            return []
        reason = f"{path} was changed or damaged: its checksum is not that of its bytes"
    except ShardError as error:
        reason = str(error)
    defaults = _defaults(root, index)
    moved = [] if interrupted else [Moved(Problem(path, reason), quarantine.take(path), True)]
    write_sealed(path, cache_document(defaults), root=root)
    return moved


def _defaults(root: Path, index: Index) -> Defaults:
    if index.defaults:
        return Defaults(**{name: str(value) for name, value in index.defaults.items()})
    found = set()
    for path in sorted((root / "encoders").glob("[!.]*.json")):
        try:
            identity = Fingerprint.from_document(read_json(path), str(path)).identity
            found.add(Defaults(str(identity["compute_dtype"]), str(identity["storage_dtype"])))
        except (FeatcacheError, KeyError):
            continue
    if len(found) != 1:
        raise FeatcacheError(
            f"{root / 'cache.json'} is damaged and its defaults are lost: neither the index nor the "
            f"{len(found)} different dtypes of the encoders tell them"
        )
    return found.pop()


def _restore_encoders(cache: Cache, index: Index, quarantine: _Quarantine) -> list[Moved]:
    moved = []
    folder = cache.path / "encoders"
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            cache.producer(path.stem)
        except ShardError as error:
            copy = _copy(index.encoders.get(path.stem), path.stem)
            moved.append(Moved(Problem(path, str(error)), quarantine.take(path), copy is not None))
    for short, document in index.encoders.items():
        fingerprint = _copy(document, short)
        if fingerprint is not None and not (folder / f"{short}.json").exists():
            write_sealed(folder / f"{short}.json", fingerprint.to_document(), root=cache.path)
    return moved


def _copy(document: object, short: str) -> Fingerprint | None:
    try:
        fingerprint = Fingerprint.from_document(document, "index.json") if isinstance(document, dict) else None
    except ShardError:
        return None
    return fingerprint if fingerprint is not None and fingerprint.short == short else None


def _commands(cache: Cache, lost: Sequence[Problem]) -> tuple[str, ...]:
    """Compose what brings back the rows that samples need, and the data sets whose tables are gone."""
    hit = {name for problem in lost if problem.loss for name, n in problem.loss.samples.items() if n}
    try:
        status = cache_status(cache)
    except ShardError:
        return ()
    steps = [step for name in status.unread for step in read_again_steps(status, name)]
    steps += [step for dataset in status.datasets if dataset.name in hit for step in finish_steps(status, dataset)]
    return tuple(dict.fromkeys(shlex.join(step.command) for step in steps))
