"""The index: receipts of all published shards. Derived from them, and rebuilt from them at any time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.cache import Cache, read_json
from featcache.errors import ShardError
from featcache.fingerprint import sha256_file
from featcache.publish import replace_json
from featcache.shard import Block, Shard, ShardHeader, read_shard

__all__ = ["Receipt", "all_shard_paths", "indexed_paths", "load_index", "update_index"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Receipt:
    """A shard as it was when it was published, and the checksum of its file."""

    shard: Shard
    sha256: str


def load_index(cache: Cache) -> Mapping[Path, Receipt]:
    """Read the receipts that still fit their files (same size); a missing or damaged index is an empty one."""
    return {path: receipt for path, receipt in _load_all(cache).items() if _size(path) == receipt.shard.size}


def indexed_paths(cache: Cache) -> tuple[Path, ...]:
    """Return the paths of all receipts, whether or not their files are still there."""
    return tuple(_load_all(cache))


def _load_all(cache: Cache) -> Mapping[Path, Receipt]:
    path = cache.path / "index.json"
    if not path.is_file():
        return {}
    try:
        document = read_json(path)
        entries = document["shards"] if document.get("format_version") == FORMAT_VERSION else {}
        return {cache.path / name: _parse(cache.path / name, entry) for name, entry in entries.items()}
    except (ShardError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def update_index(cache: Cache, *, rebuild: bool = False) -> Mapping[Path, Receipt]:
    """Write the index of what is published now, hashing only files that it does not know (or all, to rebuild)."""
    known = {} if rebuild else load_index(cache)
    receipts = {}
    for path in all_shard_paths(cache):
        receipts[path] = known.get(path) or Receipt(read_shard(path), sha256_file(path))
    shards = {path.relative_to(cache.path).as_posix(): _document(receipt) for path, receipt in receipts.items()}
    replace_json(cache.path / "index.json", {"format_version": FORMAT_VERSION, "shards": shards})
    return receipts


def all_shard_paths(cache: Cache) -> Iterator[Path]:
    """Yield every published shard of every known producer and view."""
    for fingerprint in cache.producers.values():
        for view in cache.views(fingerprint):
            yield from cache.shard_paths(fingerprint, view)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _document(receipt: Receipt) -> dict[str, Any]:
    shard = receipt.shard
    return {
        "sha256": receipt.sha256,
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
    if dtype not in ("uint8", "float16", "float32") or min([offset, *shape]) < 0:
        raise ValueError(value)
    return Block(int(offset), tuple(int(d) for d in shape), dtype)


def _parse(path: Path, entry: Mapping[str, Any]) -> Receipt:
    header = ShardHeader(str(entry["fingerprint"]), str(entry["view"]), str(entry["storage_dtype"]))
    outputs = {str(name): _unpack(block) for name, block in entry["outputs"].items()}
    norms = {str(name): _unpack(block) for name, block in entry["norms"].items()}
    shard = Shard(path, int(entry["size"]), header, _unpack(entry["key"]), outputs, norms)
    return Receipt(shard, str(entry["sha256"]))
