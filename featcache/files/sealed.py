"""JSON documents of the cache, whose first line is the checksum of the rest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featcache.errors import ShardError
from featcache.files.regular import open_regular
from featcache.files.whole import publish_bytes, replace_bytes

__all__ = [
    "MAX_RECORDS",
    "check_intact",
    "read_json",
    "read_sealed",
    "replace_sealed",
    "seal",
    "write_sealed",
]

MAX_RECORDS = 1 << 30
"""Bytes that documents have at most that grow with the data: the index, and lists of failures."""
_MAX_BYTES = 1 << 24
_BYTES_PER_VALUE = 8
"""On average at least, in documents that grow with the data: each value takes many times as much when it is read."""


def seal(document: Mapping[str, Any]) -> bytes:
    """Return a JSON object whose first line holds the sha256 of all bytes after that line."""
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    body = text.encode("utf-8").removeprefix(b"{\n") + b"\n"
    return _first_line(body) + b"\n" + body


def _first_line(body: bytes) -> bytes:
    return b'{"checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'",'


def write_sealed(path: Path, document: Mapping[str, Any], *, root: Path) -> bool:
    """Write a sealed document under a name below ``root`` that must not exist yet; returns False if it does."""
    return publish_bytes(path, seal(document), root=root)


def replace_sealed(path: Path, document: Mapping[str, Any], *, root: Path) -> None:
    """Write a sealed document below ``root``, atomically replacing what was there."""
    replace_bytes(path, seal(document), root=root)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the cache, of 16 MiB at most.

    Raises
    ------
    ShardError
        If it is missing, too large, or no JSON object.
    """
    return _parse(_read(path, _MAX_BYTES), path)


def read_sealed(path: Path, *, max_bytes: int = _MAX_BYTES) -> tuple[dict[str, Any], bool]:
    """Read a sealed document without its checksum, and whether its bytes are those that were written.

    The caller looks at the content first, so that a document of another version is told from a damaged one.

    Parameters
    ----------
    path : Path
        Where the document is.
    max_bytes : int
        What documents of its kind have at most: `MAX_RECORDS` if they grow with the data.

    Raises
    ------
    ShardError
        If it is missing, too large, or no JSON object.
    """
    raw = _read(path, max_bytes)
    document = _parse(raw, path)
    document.pop("checksum", None)
    head, _, body = raw.partition(b"\n")
    return document, head == _first_line(body)


def check_intact(path: Path, is_intact: bool) -> None:
    """Raise `ShardError` unless a sealed document is intact."""
    if not is_intact:
        raise ShardError.damaged(f"{path} was changed or damaged: its checksum is not that of its bytes")


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise ShardError.damaged(f"{path} has {size} bytes, more than any file of its kind ({max_bytes})")
            return file.read(size)
    except OSError as error:
        what = f"{path} cannot be read: {error}"
        # What the system refuses (permissions, a network that is down) is no damage.
        raise (ShardError(what) if error.errno else ShardError.damaged(what)) from error


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    if len(raw) > _MAX_BYTES and sum(map(raw.count, (b"[", b"{", b","))) > len(raw) // _BYTES_PER_VALUE:
        raise ShardError.damaged(f"{path} holds more values than any file of its kind and size ({len(raw)} bytes)")
    try:
        value = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ShardError.damaged(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ShardError.damaged(f"{path} holds no JSON object")
    return value
