"""Contents that could not be encoded, one file a work unit: nothing is lost silently, nothing retried in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.errors import ShardError
from featcache.files.sealed import MAX_RECORDS, check_intact, read_sealed, replace_sealed
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import CLEAN

__all__ = ["Failure", "failed_keys", "failure_views", "read_failure_file", "read_failures", "write_failures"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Failure:
    """One content that could not be encoded.

    Attributes
    ----------
    key : str
        Key of the content, 64 hex digits.
    sample_id : str
        First sample that has this content.
    stage : str
        What failed: ``read``, ``decode``, ``view`` or ``encode``.
    error, message : str
        Class of the error, and its text.
    attempt : int
        How many times it was tried, from 1.
    time : str
        When it was last tried: UTC, ISO 8601.
    """

    key: str
    sample_id: str
    stage: str
    error: str
    message: str
    attempt: int
    time: str


def write_failures(folder: Path, unit: str, failures: Sequence[Failure], *, root: Path) -> None:
    """Write the failures of one work unit into a folder of the cache ``root``."""
    rows = [asdict(failure) for failure in failures]
    document = {"format_version": FORMAT_VERSION, "unit": unit, "failures": rows}
    replace_sealed(folder / f"{unit}.json", document, root=root)


def read_failures(cache: Cache, fingerprint: Fingerprint, view: str) -> tuple[Failure, ...]:
    """Read all recorded failures of a producer and view, the last attempt of each content only."""
    folder = cache.failure_folder(fingerprint, view)
    latest: dict[str, Failure] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        for failure in read_failure_file(path):
            known = latest.get(failure.key)
            if known is None or known.attempt < failure.attempt:
                latest[failure.key] = failure
    return tuple(latest.values())


def read_failure_file(path: Path) -> tuple[Failure, ...]:
    """Read the failures of one work unit.

    Raises
    ------
    ShardError
        If the file is malformed, was damaged, or is of another unit than its name says.
    """
    document, is_intact = read_sealed(path, max_bytes=MAX_RECORDS)
    rows = document.get("failures")
    if document.get("format_version") != FORMAT_VERSION or not isinstance(rows, list):
        raise ShardError.damaged(f"{path} is no list of failures of format version {FORMAT_VERSION}")
    try:
        found = tuple(Failure(**row) for row in rows)
        for failure in found:
            if len(bytes.fromhex(failure.key)) != 32 or not isinstance(failure.attempt, int):
                raise ValueError(failure.key)
    except (TypeError, ValueError) as error:
        raise ShardError.damaged(f"{path} holds a malformed failure: {error}") from error
    check_intact(path, is_intact)
    if document.get("unit") != path.stem:
        # Where it belongs is not known: encoders of one modality have units of the same names.
        raise ShardError.misplaced(f"{path} is of unit {str(document.get('unit'))[:80]!r}")
    return found


def failure_views(cache: Cache, fingerprint: Fingerprint) -> tuple[str, ...]:
    """Return the views of a producer that have features or failures, the clean one in any case."""
    folder = cache.path / "failures" / fingerprint.short
    failed = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return tuple(sorted({CLEAN, *cache.views(fingerprint), *failed}))


def failed_keys(failures: Sequence[Failure]) -> NDArray[np.uint8]:
    """Return the content keys of failures: (n, 32)."""
    raw = b"".join(bytes.fromhex(failure.key) for failure in failures)
    return np.frombuffer(raw, np.uint8).reshape(-1, 32)
