"""Shards written: rows of unique contents as the image of a file, published under a name that was free."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.cache.shard import FORMAT_VERSION, Shard, ShardHeader
from featcache.cache.shard_digests import dataset_digest, shard_checksum
from featcache.errors import ShardError
from featcache.files.digests import canonical_json
from featcache.files.hdf5 import build_image
from featcache.files.whole import publish_bytes

__all__ = ["copy_rows", "storable", "write_shard"]


def write_shard(
    path: Path,
    header: ShardHeader,
    keys: NDArray[np.uint8],
    features: Mapping[str, NDArray[np.float32]],
    *,
    root: Path,
    decoders: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    """Write and publish a shard; never replaces one.

    Parameters
    ----------
    path : Path
        Name that the shard is to have.
    header : ShardHeader
        What its rows are: producer, view and dtype.
    keys : (n, 32) uint8
        Keys of the contents, each once.
    features : mapping of output name to (n, d) float32
        Raw vectors, finite and within the range of the storage dtype (see `storable`).
    root : Path
        The folder of the cache, below which no link is followed.
    decoders : mapping of str to str
        Versions of those who decoded some of the pictures, beside Pillow.

    Returns
    -------
    bool
        False if the name was taken: the rows are there already.
    """
    datasets: dict[str, NDArray[Any]] = {"key": np.ascontiguousarray(keys)}
    for name, vectors in sorted(features.items()):
        if not storable(vectors, header.storage_dtype).all():
            raise ShardError(f"output {name!r} has values that {header.storage_dtype} cannot hold")
        datasets[f"features/{name}"] = np.ascontiguousarray(vectors, dtype=header.storage_dtype)
        datasets[f"norm/{name}"] = np.linalg.norm(vectors.astype(np.float64), axis=1).astype(np.float32)
    return _publish(path, header, datasets, root, decoders)


def copy_rows(shard: Shard, rows: NDArray[np.int64], path: Path, *, root: Path) -> bool:
    """Write and publish a new shard in the cache ``root`` with some rows of another; False if the name was taken."""
    datasets = {name: np.ascontiguousarray(shard.map(block)[rows]) for name, block in shard.blocks.items()}
    return _publish(path, shard.header, datasets, root)


def _publish(
    path: Path,
    header: ShardHeader,
    datasets: Mapping[str, NDArray[Any]],
    root: Path,
    decoders: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    digests = {name: dataset_digest(data) for name, data in datasets.items()}
    attributes = _attributes(header, len(datasets["key"]), decoders)

    def fill(file: Any) -> None:
        for name, value in attributes.items():
            file.attrs[name] = value
        file.attrs["checksum"] = np.bytes_(shard_checksum(attributes, digests))
        for name, data in datasets.items():
            file.create_dataset(name, data=data).attrs["sha256"] = np.bytes_(digests[name])

    return publish_bytes(path, build_image(fill, sum(data.nbytes for data in datasets.values())), root=root)


def storable(vectors: NDArray[np.float32], dtype: str) -> NDArray[np.bool_]:
    """Return which rows of (n, d) are finite and stay finite when cast to ``dtype``."""
    limit = float(np.finfo(dtype).max)
    return np.asarray((np.isfinite(vectors) & (np.abs(vectors) <= limit)).all(axis=1))


def _attributes(header: ShardHeader, n_rows: int, decoders: Mapping[str, str]) -> dict[str, Any]:
    versions = {**decoders, "h5py": h5py.__version__, "numpy": np.__version__, "python": platform.python_version()}
    versions["pillow"] = _pillow_version()
    return {
        "format_version": np.int64(FORMAT_VERSION),
        "fingerprint": np.bytes_(header.fingerprint),
        "view": np.bytes_(header.view),
        "storage_dtype": np.bytes_(header.storage_dtype),
        "rows": np.int64(n_rows),
        "versions": np.bytes_(canonical_json(versions)),
    }


def _pillow_version() -> str:
    """Return the version of the Pillow that is loaded, else of the one that would be: reading shards needs none."""
    if loaded := sys.modules.get("PIL"):
        return str(loaded.__version__)
    from importlib.metadata import version  # slow to load, and of no use to readers

    return version("pillow")
