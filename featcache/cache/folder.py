"""The cache folder: its layout, its defaults, its producers and its shards."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.samples import read_samples
from featcache.cache.shard import SUFFIX
from featcache.errors import FeatcacheError, ShardError
from featcache.files.digests import canonical_json
from featcache.files.publish import TEMP_PREFIX
from featcache.files.sealed import MAX_RECORDS, check_intact, read_sealed, write_sealed
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.terms import COMPUTE_DTYPES, STORAGE_DTYPES

__all__ = ["Cache", "Defaults", "cache_document", "has_lost_marker", "unit_name"]

FORMAT_VERSION = 1
_SHORT_FINGERPRINT = re.compile(r"[0-9a-f]{12}")
_TRACES = (f"encoders/{'[0-9a-f]' * 12}.json", f"features/{'[0-9a-f]' * 12}/*/[!.]*{SUFFIX}")


@dataclass(frozen=True)
class Defaults:
    """What the first extraction resolved, so that every later one and every other machine does the same."""

    compute_dtype: str
    storage_dtype: str

    def __post_init__(self) -> None:
        for field, value, legal in (
            ("compute_dtype", self.compute_dtype, COMPUTE_DTYPES),
            ("storage_dtype", self.storage_dtype, STORAGE_DTYPES),
        ):
            if value not in legal:
                raise FeatcacheError(f"{field} {value!r} is unknown, expected one of {', '.join(legal)}")


def cache_document(defaults: Defaults) -> dict[str, Any]:
    """Return what ``cache.json`` holds."""
    return {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "defaults": asdict(defaults),
    }


def has_lost_marker(folder: Path) -> bool:
    """Whether a folder is plainly a cache but for its ``cache.json``: it has what only caches have."""
    if os.path.lexists(folder / "cache.json"):
        return False
    has_traces = any(True for pattern in _TRACES for _ in folder.glob(pattern))
    return has_traces or _is_index(folder / "index.json") or any(map(_is_table, (folder / "samples").glob("[!.]*.h5")))


def unit_name(keys: NDArray[np.uint8], view: str, outputs: tuple[str, ...]) -> str:
    """Return the name of the work unit that encodes these keys in this order: deterministic, 32 hex digits."""
    digest = hashlib.sha256(canonical_json([view, sorted(outputs)]).encode())
    digest.update(np.ascontiguousarray(keys).tobytes())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Cache:
    """A cache folder of this format version."""

    path: Path
    defaults: Defaults

    @classmethod
    def open(cls, path: str | Path) -> Cache:
        """Open an existing cache.

        Raises
        ------
        FeatcacheError
            If the folder is no cache, or of another format version.
        """
        path = Path(path)
        if not path.is_dir():
            raise FeatcacheError(
                f"cache {str(path)!r} does not exist; `featcache extract DATA --cache {path}` makes one"
            )
        if not os.path.lexists(path / "cache.json"):
            raise FeatcacheError(f"folder {str(path)!r} is no cache: it has no cache.json{_remedy(path)}")
        document, is_intact = read_sealed(path / "cache.json")
        version = document.get("format_version")
        if version not in (None, FORMAT_VERSION):
            raise FeatcacheError(
                f"cache {str(path)!r} has format version {version!r}, this program reads {FORMAT_VERSION}"
            )
        found = cls(path, _defaults(document.get("defaults"), f"cache {str(path)!r}: cache.json"))
        check_intact(path / "cache.json", is_intact)
        return found

    @classmethod
    def open_or_imagine(cls, path: str | Path, defaults: Defaults) -> Cache:
        """Open a cache; where the folder is missing or empty, return the one that `make` would make of it.

        Raises
        ------
        FeatcacheError
            If none can be made there.
        """
        path = Path(path)
        marker = path / "cache.json"
        if marker.is_file():
            return cls.open(path)
        if path.exists() and not path.is_dir():
            raise FeatcacheError(f"cache {str(path)!r} is no folder")
        strangers = path.is_dir() and any(not p.name.startswith(TEMP_PREFIX) for p in path.iterdir())
        # Looked at again: another writer may have made the cache since.
        if strangers and not marker.is_file():
            what = f"folder {str(path)!r} is neither empty nor a cache: it has no cache.json"
            raise FeatcacheError(what + _remedy(path))
        return cls(path, defaults)

    @classmethod
    def open_or_create(cls, path: str | Path, defaults: Defaults) -> Cache:
        """Open a cache, or make one with these defaults in a folder that is missing or empty."""
        cls.open_or_imagine(path, defaults)._write()
        return cls.open(path)

    def make(self) -> None:
        """Make the folder and ``cache.json``, if this cache was only imagined until now.

        Raises
        ------
        FeatcacheError
            If another writer has made it since, with other defaults than this one was imagined with.
        """
        self._write()
        found = Cache.open(self.path).defaults
        if found != self.defaults:
            raise FeatcacheError(
                f"cache {str(self.path)!r} was made by another extraction a moment ago, to compute in "
                f"{found.compute_dtype} and store {found.storage_dtype}; run the same command again"
            )

    def _write(self) -> None:
        marker = self.path / "cache.json"
        if not marker.is_file():
            write_sealed(marker, cache_document(self.defaults), root=self.path)

    def add_producer(self, fingerprint: Fingerprint) -> None:
        """Record a producer's document; one that is there already stays."""
        path = self.path / "encoders" / f"{fingerprint.short}.json"
        if not path.is_file():
            write_sealed(path, fingerprint.to_document(), root=self.path)
        known = self.producer(fingerprint.short)
        if known.digest != fingerprint.digest:
            raise ShardError(f"encoder document {path} belongs to another producer with the same first 12 digits")

    def producer(self, short: str) -> Fingerprint:
        """Read one producer's document."""
        path = self.path / "encoders" / f"{short}.json"
        document, is_intact = read_sealed(path)
        try:
            fingerprint = Fingerprint.from_document(document, str(path))
        except ShardError as error:
            raise ShardError.damaged(str(error)) from error
        check_intact(path, is_intact)
        if fingerprint.short != short:
            home = path.with_name(f"{fingerprint.short}.json")
            raise ShardError.misplaced(f"encoder document {path} describes producer {fingerprint.short}", home)
        return fingerprint

    @cached_property
    def producers(self) -> Mapping[str, Fingerprint]:
        """All producers by digest, in the order of their short names."""
        folder = self.path / "encoders"
        names = sorted(p.stem for p in folder.glob("*.json")) if folder.is_dir() else []
        found = (self.producer(name) for name in names if _SHORT_FINGERPRINT.fullmatch(name))
        return {fingerprint.digest: fingerprint for fingerprint in found}

    def views(self, fingerprint: Fingerprint) -> tuple[str, ...]:
        """Names of the views of which this producer has a folder."""
        folder = self.path / "features" / fingerprint.short
        return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir())) if folder.is_dir() else ()

    def shard_folder(self, fingerprint: Fingerprint, view: str) -> Path:
        """Folder of the shards of one producer and view."""
        return self.path / "features" / fingerprint.short / view

    def shard_paths(self, fingerprint: Fingerprint, view: str) -> Iterator[Path]:
        """Yield the published shards, smallest name first."""
        folder = self.shard_folder(fingerprint, view)
        if folder.is_dir():
            found = (p for p in folder.iterdir() if p.name.endswith(SUFFIX) and not p.name.startswith("."))
            # By the text of their names: comparing a thousand paths takes longer than reading their index.
            yield from sorted(found, key=lambda path: path.name)

    def failure_folder(self, fingerprint: Fingerprint, view: str) -> Path:
        """Folder of the failures of one producer and view."""
        return self.path / "failures" / fingerprint.short / view

    def sample_path(self, dataset: str) -> Path:
        """File of a data set's sample table."""
        return self.path / "samples" / f"{dataset}.h5"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets that have a sample table."""
        folder = self.path / "samples"
        if not folder.is_dir():
            return ()
        return tuple(sorted(p.stem for p in folder.glob("*.h5") if not p.name.startswith(".")))


def _is_index(path: Path) -> bool:
    try:
        document, is_intact = read_sealed(path, max_bytes=MAX_RECORDS)
    except ShardError:
        return False
    return is_intact and {"defaults", "encoders", "shards"} <= document.keys()


def _is_table(path: Path) -> bool:
    try:
        read_samples(path)
    except ShardError:
        return False
    return True


def _defaults(value: Any, where: str) -> Defaults:
    if not isinstance(value, dict) or set(value) != {"compute_dtype", "storage_dtype"}:
        raise ShardError.damaged(f"{where} has no defaults for compute_dtype and storage_dtype")
    try:
        return Defaults(**{name: str(dtype) for name, dtype in value.items()})
    except FeatcacheError as error:
        raise ShardError.damaged(f"{where}: {error}") from error


def _remedy(folder: Path) -> str:
    """Say what to do about a cache that has lost its ``cache.json``."""
    command = shlex.join(["featcache", "repair", str(folder)])
    return f", but looks like a cache that lost it: `{command}` makes it anew" if has_lost_marker(folder) else ""
