"""The documents and tables of a cache: each is held against its checksum and its own place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from featcache.cache.failures import Failure, read_failure_file
from featcache.cache.folder import Cache
from featcache.cache.orphans import read_orphans
from featcache.cache.plans import FrozenPlan, read_plan
from featcache.cache.requests import Request, read_request
from featcache.cache.samples import SampleTable, read_samples
from featcache.cache.shard import SUFFIX
from featcache.errors import FeatcacheError, ShardError
from featcache.identity.fingerprint import Fingerprint
from featcache.upkeep.damage import Problem

__all__ = ["Documents", "read_documents"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Documents:
    """What the documents of a cache say that are whole and in their places.

    Attributes
    ----------
    folders : tuple of Path
        Folders of features and failures of one producer each, in which there is something.
    unread : mapping of str to tuple of Failure
        By data set, the pictures that could not be read when it was read last.
    scanned : frozenset of str
        Data sets of which it is on record what they lacked, which is written last when they are read.
    tables : tuple of SampleTable
        The sample tables that are sound.
    requests : tuple of Request
        What was asked for of data sets.
    plans : tuple of FrozenPlan
        Plans of extractions in parts.
    producers : tuple of Fingerprint
        The producers whose documents are sound.
    problems : tuple of Problem
        Documents that are damaged or misplaced.
    """

    folders: tuple[Path, ...]
    unread: Mapping[str, tuple[Failure, ...]]
    scanned: frozenset[str]
    tables: tuple[SampleTable, ...]
    requests: tuple[Request, ...]
    plans: tuple[FrozenPlan, ...]
    producers: tuple[Fingerprint, ...]
    problems: tuple[Problem, ...]


def read_documents(cache: Cache) -> Documents:
    """Read all there are.

    What an extraction writes last is read first: what a document names was there before it, so that beside a writer
    at work nothing is taken for lost.
    """
    reading = _Reading(cache.path)
    units = reading.each("failures/[0-9a-f]*/*/*.json", read_failure_file)
    shards = {path.parents[1] for path in cache.path.glob(f"features/*/*/[!.]*{SUFFIX}")}
    orphans = reading.each("failures/samples/*/orphans.json", _check_orphans)
    unread = reading.each("failures/samples/*/read.json", read_failure_file)
    tables = reading.each(f"samples/*{SUFFIX}", lambda path: _read_table(cache, path))
    requests = reading.each("requests/*/*.json", read_request)
    plans = reading.each("plans/*/*.json", read_plan)
    producers = reading.each("encoders/*.json", lambda path: cache.producer(path.stem))
    return Documents(
        tuple(sorted(shards | {path.parents[1] for path in units})),
        {path.parent.name: failures for path, failures in unread.items()},
        frozenset(path.parent.name for path in orphans),
        tuple(tables.values()),
        tuple(requests.values()),
        tuple(plans.values()),
        tuple(producers.values()),
        tuple(reading.problems),
    )


class _Reading:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[Problem] = []

    def each(self, pattern: str, read: Callable[[Path], _T]) -> dict[Path, _T]:
        """Read the files of one kind, in the order of their names."""
        found = {}
        for path in sorted(self._folder.glob(pattern)):
            if path.name.startswith("."):
                continue
            try:
                found[path] = read(path)
            except FeatcacheError as error:
                self.problems.append(Problem(path, str(error), home=getattr(error, "home", None)))
        return found


def _check_orphans(path: Path) -> None:
    """Read as the list of no failures that it is too: that tells it from other lists, and from what is no file."""
    read_orphans(path)
    read_failure_file(path)


def _read_table(cache: Cache, path: Path) -> SampleTable:
    table = read_samples(path)
    home = cache.sample_path(table.dataset)
    if home != path:
        raise ShardError.misplaced(f"sample table {path} is of data set {table.dataset!r}", home)
    return table
