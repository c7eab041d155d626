"""Proving that a cache is what its contract says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from featcache.cache import Cache
from featcache.errors import FeatcacheError, ShardError
from featcache.failures import read_failures
from featcache.fingerprint import Fingerprint, sha256_file
from featcache.index import Receipt, indexed_paths, load_index
from featcache.samples import read_samples
from featcache.shard import read_shard, verify_shard

__all__ = ["Problem", "VerifyReport", "verify"]


@dataclass(frozen=True)
class Problem:
    """One damaged or misplaced file.

    Attributes
    ----------
    path : Path
        The file.
    message : str
        What is wrong.
    """

    path: Path
    message: str


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, and what was found.

    Attributes
    ----------
    deep : bool
        Whether all bytes were read.
    n_shards, n_rows, n_bytes : int
        What was checked.
    problems : tuple of Problem
        Empty if the cache is sound.
    """

    deep: bool
    n_shards: int
    n_rows: int
    n_bytes: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(cache: Cache, *, deep: bool = False, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check structure, sizes, producers and tables of a cache; with ``deep`` every byte of every shard.

    Parameters
    ----------
    cache : Cache
        The folder.
    deep : bool
        Recompute all digests.
    progress : callable
        Called with (shards checked, shards).
    """
    problems: list[Problem] = []
    known = load_index(cache)
    shards: list[tuple[Path, Fingerprint, str]] = []
    for fingerprint in _producers(cache, problems):
        for view in cache.views(fingerprint):
            shards += [(path, fingerprint, view) for path in cache.shard_paths(fingerprint, view)]
            _try(problems, cache.failure_folder(fingerprint, view), read_failures, cache, fingerprint, view)
    problems += [Problem(path, "is in the index, but not on disk or of another size") for path in _lost(cache, known)]
    rows = size = 0
    for number, (path, fingerprint, view) in enumerate(shards, 1):
        try:
            rows += _check_shard(path, fingerprint, view, known.get(path), deep)
            size += path.stat().st_size
        except (ShardError, OSError) as error:
            problems.append(Problem(path, str(error)))
        if progress:
            progress(number, len(shards))
    for dataset in cache.datasets:
        _try(problems, cache.sample_path(dataset), read_samples, cache.sample_path(dataset))
    return VerifyReport(deep, len(shards), rows, size, tuple(problems))


def _try(problems: list[Problem], path: Path, check: Callable[..., object], *arguments: object) -> None:
    try:
        check(*arguments)
    except FeatcacheError as error:
        problems.append(Problem(path, str(error)))


def _producers(cache: Cache, problems: list[Problem]) -> list[Fingerprint]:
    found = []
    for path in sorted((cache.path / "encoders").glob("*.json")):
        try:
            found.append(cache.producer(path.stem))
        except ShardError as error:
            problems.append(Problem(path, str(error)))
    known = {f.short for f in found}
    features = cache.path / "features"
    problems += [
        Problem(folder, f"features of producer {folder.name!r}, which has no readable document")
        for folder in (sorted(features.iterdir()) if features.is_dir() else ())
        if folder.name not in known
    ]
    return found


def _lost(cache: Cache, fitting: Mapping[Path, Receipt]) -> list[Path]:
    return [path for path in indexed_paths(cache) if path not in fitting]


def _check_shard(path: Path, fingerprint: Fingerprint, view: str, receipt: Receipt | None, deep: bool) -> int:
    shard = read_shard(path)
    header = shard.header
    if header.fingerprint != fingerprint.digest or header.view != view:
        raise ShardError(
            f"shard {path} holds rows of producer {header.fingerprint[:12]!r}, view {header.view!r}, "
            f"expected {fingerprint.short!r}, {view!r}"
        )
    if receipt is not None and receipt.shard != shard:
        raise ShardError(f"shard {path} is laid out differently from its receipt in the index")
    if deep:
        verify_shard(shard)
        if receipt is not None and sha256_file(path) != receipt.sha256:
            raise ShardError(f"shard {path} has another checksum than its receipt in the index")
    return shard.n_rows
