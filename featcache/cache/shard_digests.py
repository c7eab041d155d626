"""The digests inside of a shard: of each dataset, and of its attributes with all of these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.cache.shard import ATTRIBUTES, Shard, unreadable
from featcache.errors import ShardError
from featcache.files.digests import digest_bytes, digest_json
from featcache.files.hdf5 import read_attributes
from featcache.files.regular import check_regular

__all__ = ["dataset_digest", "intact_keys", "shard_checksum", "verify_shard"]

_DATASET_ATTRIBUTES = {"sha256": "S"}


def dataset_digest(data: NDArray[Any]) -> str:
    """Return the sha256 of the bytes of a contiguous array."""
    return hashlib.sha256(data.reshape(-1).view(np.uint8).data).hexdigest()


def shard_checksum(attributes: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Return what a shard is known by, from its other attributes and the digests of its datasets."""
    plain = {k: v.decode() if isinstance(v, bytes) else int(v) for k, v in attributes.items()}
    return digest_json([plain, digests])


def verify_shard(shard: Shard) -> None:
    """Recompute every digest inside a shard.

    Raises
    ------
    ShardError
        Naming the first dataset, or the attributes, that differ from what was written.
    """
    with _opened(shard.path) as file:
        digests = {}
        for name, block in shard.blocks.items():
            digests[name] = digest_bytes(shard.path, block.offset, block.nbytes)
            if _recorded_digest(file, name, shard.path) != digests[name].encode():
                raise ShardError.damaged(f"shard {shard.path}: dataset {name!r} ({block.shape[0]} rows) was damaged")
        attributes = read_attributes(file, ATTRIBUTES, f"shard {shard.path}")
        try:
            expected = shard_checksum({k: v for k, v in attributes.items() if k != "checksum"}, digests).encode()
        except UnicodeDecodeError:
            expected = b""
        if attributes["checksum"] != expected:
            raise ShardError.damaged(f"shard {shard.path}: its attributes were damaged")


def intact_keys(shard: Shard) -> NDArray[np.uint8] | None:
    """Return the keys (n, 32) of a shard of which something is damaged, or None if it is the keys."""
    try:
        keys = np.array(shard.map(shard.key))
        with _opened(shard.path) as file:
            return keys if _recorded_digest(file, "key", shard.path) == dataset_digest(keys).encode() else None
    except (ShardError, OSError):
        return None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        check_regular(path.stat(), path)
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise unreadable(path, error) from error


def _recorded_digest(file: Any, name: str, path: Path) -> bytes:
    return bytes(read_attributes(file[name], _DATASET_ATTRIBUTES, f"shard {path}: dataset {name!r}")["sha256"])
