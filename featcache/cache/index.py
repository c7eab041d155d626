"""The index: receipts of all published shards. Derived from them, and rebuilt from them at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from featcache.cache.folder import Cache
from featcache.cache.shard import Shard, ShardHeader, check_layout, read_shard
from featcache.cache.shard_digests import verify_shard
from featcache.errors import ShardError
from featcache.files.digests import canonical_json, digest_bytes
from featcache.files.hdf5 import Block
from featcache.files.sealed import MAX_RECORDS, check_intact, read_sealed, replace_sealed

__all__ = ["Index", "Receipt", "all_shard_paths", "load_index", "read_index", "update_index"]

FORMAT_VERSION = 3
_VERSIONS = (2, FORMAT_VERSION)
"""Receipts of version 2 do not tell a shard from another of the same size: they are made anew."""

_Layout: TypeAlias = tuple[int, ShardHeader, Block, Mapping[str, Block], Mapping[str, Block]]
"""All of a `Shard` but its path and checksum: size, header, key, outputs, norms."""


@dataclass(frozen=True)
class Receipt:
    """A shard as it was when it was published, and the checksum of its file."""

    shard: Shard
    sha256: str


@dataclass(frozen=True)
class Index:
    """What the index file says.

    Attributes
    ----------
    state : {"intact", "missing", "damaged"}
        An index that is missing or damaged (or is no file) is an empty one: it is a shortcut, nothing depends on it.
    receipts : mapping of Path to Receipt
        All of them, whether or not their files are still there.
    encoders : mapping of short fingerprint to document
        Copies of the encoder documents, from which `repair` restores one that was damaged.
    defaults : mapping
        A copy of the cache's defaults.
    """

    state: Literal["intact", "missing", "damaged"]
    receipts: Mapping[Path, Receipt] = field(default_factory=dict)
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)


def read_index(folder: Path) -> Index:
    """Read the index of a cache folder; never raises for what is in it."""
    path = folder / "index.json"
    if not os.path.lexists(path):
        return Index("missing")
    try:
        document, is_intact = read_sealed(path, max_bytes=MAX_RECORDS)
        check_intact(path, is_intact)
        version = document["format_version"]
        if version not in _VERSIONS:
            return Index("damaged")
        layouts = {str(number): _parse(layout) for number, layout in document["layouts"].items()}
        receipts = {}
        for name, (number, sha256, checksum) in document["shards"].items() if version == FORMAT_VERSION else ():
            path = folder / name
            receipts[path] = Receipt(Shard(path, *layouts[number], str(checksum)), str(sha256))
        return Index("intact", receipts, dict(document["encoders"]), dict(document["defaults"]))
    except (ShardError, KeyError, TypeError, ValueError, AttributeError):
        return Index("damaged")


def load_index(cache: Cache) -> Mapping[Path, Receipt]:
    """Read the receipts that still fit their files (same size); a missing or damaged index is an empty one."""
    receipts = read_index(cache.path).receipts
    return {path: receipt for path, receipt in receipts.items() if _size(path) == receipt.shard.size}


def update_index(cache: Cache, *, rebuild: bool = False, without: Collection[Path] = ()) -> Mapping[Path, Receipt]:
    """Write the index of what is published now; a shard gets its receipt only after all its digests were checked.

    Parameters
    ----------
    cache : Cache
        The cache whose index is written.
    rebuild : bool
        Believe no receipt that is there. A shard that is damaged gets none, so that `verify` looks into it.
    without : collection of Path
        Shards to leave out: they are about to be removed.
    """
    known = {} if rebuild else load_index(cache)
    receipts = {}
    for path in all_shard_paths(cache):
        receipt = None if path in without else known.get(path) or _issue(path)
        if receipt is not None:
            receipts[path] = receipt
    # All full shards of a producer have one layout: written, read and checked once.
    numbers: dict[str, str] = {}
    shards = {}
    for path, receipt in receipts.items():
        number = numbers.setdefault(canonical_json(_layout(receipt.shard)), str(len(numbers)))
        shards[path.relative_to(cache.path).as_posix()] = [number, receipt.sha256, receipt.shard.checksum]
    document = {
        "format_version": FORMAT_VERSION,
        "defaults": asdict(cache.defaults),
        "encoders": {f.short: f.to_document() for f in cache.producers.values()},
        "layouts": {number: json.loads(layout) for layout, number in numbers.items()},
        "shards": shards,
    }
    replace_sealed(cache.path / "index.json", document, root=cache.path)
    return receipts


def _issue(path: Path) -> Receipt | None:
    # The checksum is taken first: a file that is damaged between the two readings then fails its receipt.
    try:
        checksum = digest_bytes(path)
        shard = read_shard(path)
        verify_shard(shard)
    except (ShardError, OSError):
        return None
    return Receipt(shard, checksum)


def all_shard_paths(cache: Cache) -> Iterator[Path]:
    """Yield every published shard of every known producer and view."""
    for fingerprint in cache.producers.values():
        for view in cache.views(fingerprint):
            yield from cache.shard_paths(fingerprint, view)


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - twice as fast, of which a thousand shards make something
    except OSError:
        return -1


def _layout(shard: Shard) -> dict[str, Any]:
    return {
        "size": shard.size,
        "fingerprint": shard.header.fingerprint,
        "view": shard.header.view,
        "storage_dtype": shard.header.storage_dtype,
        "key": _pack(shard.key),
        "outputs": {name: _pack(block) for name, block in shard.outputs.items()},
        "norms": {name: _pack(block) for name, block in shard.norms.items()},
    }


def _pack(block: Block) -> list[Any]:
    return [block.offset, list(block.shape), block.dtype]


def _unpack(value: Any) -> Block:
    offset, shape, dtype = value
    if dtype not in ("uint8", "float16", "float32") or not shape or min([offset, *shape]) < 0:
        raise ValueError(value)
    return Block(int(offset), tuple(int(d) for d in shape), dtype)


def _parse(layout: Mapping[str, Any]) -> _Layout:
    header = ShardHeader(str(layout["fingerprint"]), str(layout["view"]), str(layout["storage_dtype"]))
    outputs = {str(name): _unpack(block) for name, block in layout["outputs"].items()}
    norms = {str(name): _unpack(block) for name, block in layout["norms"].items()}
    parsed = (int(layout["size"]), header, _unpack(layout["key"]), outputs, norms)
    check_layout(Shard(Path("index.json"), *parsed))
    return parsed
