"""What was asked for of a data set: known before anything is stored, so that what is missing can always be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from featcache.cache.folder import Cache
from featcache.errors import ShardError
from featcache.files.sealed import check_intact, read_sealed, replace_sealed
from featcache.identity.fingerprint import SHORT

__all__ = ["Request", "read_request", "read_requests", "requested_datasets", "write_requests"]

FORMAT_VERSION = 1
_FOLDER = "requests"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VIEW = re.compile(r"[a-z0-9][a-z0-9:.+-]{0,200}")
"""A view is the name of a folder, and what is in a cache may have been made to name another."""


@dataclass(frozen=True)
class Request:
    """The last extraction of one data set with one producer.

    Attributes
    ----------
    dataset, origin : str
        Its name in the cache, and what it was read from.
    fingerprint : str
        Digest of the producer, 64 hex digits.
    outputs, views : tuple of str
        Outputs that were to be stored, and the perturbations under which.
    seed : int or None
        Seed of the split, if it was made here.
    skips_orphans : bool
        Whether something that the data set names was left out.
    rules : int
        By which labels and captions were read; 1 in old requests.
    labels : str
        What the user stated about labels, ``""`` if nothing.
    columns, root : str
        Columns that the user named, as ``--column`` takes them, and the folder below which pictures are; ``""`` if
        nothing was said.
    splits : str
        What the user stated about names of splits, ``""`` if nothing.
    """

    dataset: str
    origin: str
    fingerprint: str
    outputs: tuple[str, ...]
    views: tuple[str, ...]
    seed: int | None
    skips_orphans: bool
    rules: int = 1
    labels: str = ""
    columns: str = ""
    root: str = ""
    splits: str = ""

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Self:
        """Read what `to_document` returned.

        Raises
        ------
        ShardError
            If the document is no request of this version.
        """
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ShardError.of_version(where, version, FORMAT_VERSION)
        try:
            seed = document["seed"]
            found = cls(
                str(document["dataset"]),
                str(document["origin"]),
                str(document["fingerprint"]),
                tuple(map(str, document["outputs"])),
                tuple(map(str, document["views"])),
                None if seed is None else int(seed),
                bool(document["skips_orphans"]),
                int(document.get("rules", 1)),
                str(document.get("labels", "")),
                str(document.get("columns", "")),
                str(document.get("root", "")),
                str(document.get("splits", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ShardError.damaged(f"{where} is no request: {error!r}") from error
        if not _DIGEST.fullmatch(found.fingerprint):
            raise ShardError.damaged(f"{where} names the producer {found.fingerprint[:80]!r}, expected 64 hex digits")
        if odd := [view for view in found.views if not _VIEW.fullmatch(view)]:
            raise ShardError.damaged(f"{where} names the view {odd[0][:80]!r}, which is none")
        return found

    def to_document(self) -> dict[str, Any]:
        """Return what is stored."""
        document = {"format_version": FORMAT_VERSION, **asdict(self)}
        if self.rules == 1 and not self.labels:
            del document["rules"], document["labels"]
        if not (self.columns or self.root):
            del document["columns"], document["root"]
        if not self.splits:
            del document["splits"]
        return document


def write_requests(cache: Cache, requests: Iterable[Request]) -> None:
    """Put requests in the place of earlier ones of the same data set and producer."""
    for request in requests:
        path = cache.path / _FOLDER / request.dataset / f"{request.fingerprint[:SHORT]}.json"
        try:
            is_there = read_request(path) == request
        except ShardError:
            is_there = False
        if not is_there:
            replace_sealed(path, request.to_document(), root=cache.path)


def read_requests(cache: Cache, dataset: str) -> tuple[Request, ...]:
    """Return what was last asked for of a data set, one a producer; none in caches of early versions.

    Raises
    ------
    ShardError
        If a file is damaged.
    """
    folder = cache.path / _FOLDER / dataset
    return tuple(read_request(path) for path in sorted(folder.glob("[0-9a-f]*.json")))


def requested_datasets(cache: Cache) -> tuple[str, ...]:
    """Return the data sets of which something was ever asked for."""
    folder = cache.path / _FOLDER
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir())) if folder.is_dir() else ()


def read_request(path: Path) -> Request:
    """Read one file.

    Raises
    ------
    ShardError
        If it is damaged, or of another data set or producer than its place says.
    """
    document, is_intact = read_sealed(path)
    request = Request.from_document(document, f"request {path}")
    check_intact(path, is_intact)
    if (request.dataset, request.fingerprint[:SHORT]) != (path.parent.name, path.stem):
        whose = f"data set {request.dataset!r} with producer {request.fingerprint[:SHORT]!r}"
        home = path.parents[1] / request.dataset / f"{request.fingerprint[:SHORT]}.json"
        raise ShardError.misplaced(f"request {path} is of {whose}", home)
    return request
