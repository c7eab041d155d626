"""SHA-256 of bytes and of files, and the one text of a JSON value that is hashed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from featcache.files.regular import open_unbuffered

__all__ = ["canonical_json", "digest_bytes", "digest_json", "sha256_file"]

_BUFFER = 1 << 20


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no blanks, no NaN, non-ASCII kept."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_json(value: Any) -> str:
    """Return the sha256 of the `canonical_json` of ``value`` as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(path: Path, offset: int = 0, n_bytes: int | None = None) -> str:
    """Return the sha256 of some bytes of a file (default: all), as 64 hex digits.

    Reads instead of mapping: page faults would cost more than the hash. Releases the interpreter lock.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER))
    with open_unbuffered(path) as file:
        left = os.fstat(file.fileno()).st_size if n_bytes is None else n_bytes
        file.seek(offset)
        while left > 0 and (n := file.readinto(buffer[: min(left, _BUFFER)])):
            digest.update(buffer[:n])
            left -= n
    return digest.hexdigest()
