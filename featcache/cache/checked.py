"""Which shards were found sound when they were last read: those that look the same need not be hashed again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.errors import FeatcacheError, ShardError
from featcache.files.file_state import FileState
from featcache.files.sealed import check_intact, read_sealed, replace_sealed

__all__ = ["Checked", "read_checked", "remember_checked"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checked:
    """A shard all of whose digests were right.

    Attributes
    ----------
    state : FileState
        What its file looked like before and after it was read.
    sha256 : str
        Checksum of the whole file, as its receipt has it; empty if there was no receipt.
    """

    state: FileState
    sha256: str


def read_checked(cache: Path, folder: Path) -> dict[str, Checked]:
    """Return what is remembered of a folder of shards, by file name; a damaged memory is an empty one."""
    path = _path(cache, folder)
    try:
        document, is_intact = read_sealed(path)
        check_intact(path, is_intact)
        if document["format_version"] != FORMAT_VERSION:
            return {}
        return {str(name): _parse(value) for name, value in document["shards"].items()}
    except (ShardError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def remember_checked(cache: Path, folder: Path, found: Mapping[str, Checked]) -> None:
    """Add to what is remembered of a folder of shards; in a cache that cannot be written nothing is.

    Nor is anything through a link. Of two processes that do so at once the last wins; what it did not know of is
    hashed once more.
    """
    with suppress(FeatcacheError, OSError):
        present = {path.name for path in folder.iterdir()}
        known = {name: checked for name, checked in read_checked(cache, folder).items() if name in present}
        shards = {name: [*checked.state, checked.sha256] for name, checked in (known | dict(found)).items()}
        replace_sealed(_path(cache, folder), {"format_version": FORMAT_VERSION, "shards": shards}, root=cache)


def _path(cache: Path, folder: Path) -> Path:
    place = folder.relative_to(cache / "features")
    return cache / "memo" / "checked" / place.parent / f"{place.name}.json"


def _parse(value: Any) -> Checked:
    *numbers, sha256 = value
    return Checked(FileState(*map(int, numbers)), str(sha256))
