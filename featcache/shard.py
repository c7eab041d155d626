"""The HDF5 shard: rows of unique contents, written once, published whole, readable without HDF5's help.

A shard file that exists is complete. It holds ``key`` (n, 32) uint8, and per output ``features/<output>`` (n, d)
float16 or float32 and ``norm/<output>`` (n,) float32, all contiguous and without filters, so that a memory map at
``dataset.id.get_offset()`` reads rows at the speed of the page cache.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError
from featcache.fingerprint import canonical_json
from featcache.publish import publish_new, temporary_beside

__all__ = [
    "KEY_BYTES",
    "Block",
    "Shard",
    "ShardHeader",
    "read_shard",
    "storable",
    "verify_shard",
    "write_shard",
]

FORMAT_VERSION = 1
KEY_BYTES = 32
SUFFIX = ".h5"
_ALIGNMENT = 64
_STORAGE_DTYPES = ("float16", "float32")
_MAX_ATTRIBUTE = 65536


@dataclass(frozen=True)
class ShardHeader:
    """What the rows of a shard are.

    Attributes
    ----------
    fingerprint : str
        Digest of the producer, 64 hex digits.
    view : str
        Perturbation under which the contents were encoded.
    storage_dtype : {"float16", "float32"}
        Of the features on disk.
    """

    fingerprint: str
    view: str
    storage_dtype: str


@dataclass(frozen=True)
class Block:
    """Where one dataset lies in its file: enough to map it without opening HDF5."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Shard:
    """One readable shard file.

    Attributes
    ----------
    path : Path
        The file.
    size : int
        Its size in bytes when it was read; another size later means that somebody broke the rule of immutability.
    header : ShardHeader
        Producer, view and dtype.
    key : Block
        The content keys.
    outputs, norms : mapping of output name to Block
        Features and their L2 norms before the cast.
    """

    path: Path
    size: int
    header: ShardHeader
    key: Block
    outputs: Mapping[str, Block]
    norms: Mapping[str, Block]

    @property
    def n_rows(self) -> int:
        """Number of contents."""
        return self.key.shape[0]

    def map(self, block: Block) -> NDArray[Any]:
        """Map one block read-only; ShardError if the file no longer has the size that it had."""
        size = self.path.stat().st_size
        if size != self.size or block.offset + block.nbytes > size:
            raise ShardError(f"shard {self.path} has {size} bytes, expected {self.size}: run `featcache verify`")
        return np.memmap(self.path, dtype=block.dtype, mode="r", offset=block.offset, shape=block.shape)


def write_shard(
    path: Path, header: ShardHeader, keys: NDArray[np.uint8], features: Mapping[str, NDArray[np.float32]]
) -> bool:
    """Write and publish a shard; never replaces one.

    Parameters
    ----------
    path : Path
        Final name.
    header : ShardHeader
        Producer, view and dtype.
    keys : (n, 32) uint8
        Content keys.
    features : mapping of output name to (n, d) float32
        Raw vectors, finite and within the range of the storage dtype (see `storable`).

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
    digests = {name: _digest(data) for name, data in datasets.items()}
    attributes = _attributes(header, len(keys))
    with temporary_beside(path) as temp:
        with h5py.File(temp, "w-", alignment_threshold=1, alignment_interval=_ALIGNMENT) as file:
            for name, value in attributes.items():
                file.attrs[name] = value
            file.attrs["checksum"] = np.bytes_(_checksum(attributes, digests))
            for name, data in datasets.items():
                file.create_dataset(name, data=data).attrs["sha256"] = np.bytes_(digests[name])
        return publish_new(temp, path)


def storable(vectors: NDArray[np.float32], dtype: str) -> NDArray[np.bool_]:
    """Return which rows of (n, d) are finite and stay finite when cast to ``dtype``."""
    limit = float(np.finfo(dtype).max)
    return np.asarray((np.isfinite(vectors) & (np.abs(vectors) <= limit)).all(axis=1))


def _attributes(header: ShardHeader, n_rows: int) -> dict[str, Any]:
    versions = {"h5py": h5py.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return {
        "format_version": np.int64(FORMAT_VERSION),
        "fingerprint": np.bytes_(header.fingerprint),
        "view": np.bytes_(header.view),
        "storage_dtype": np.bytes_(header.storage_dtype),
        "rows": np.int64(n_rows),
        "versions": np.bytes_(canonical_json(versions)),
    }


def _digest(data: NDArray[Any]) -> str:
    return hashlib.sha256(data.reshape(-1).view(np.uint8).data).hexdigest()


def _checksum(attributes: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    plain = {k: v.decode() if isinstance(v, bytes) else int(v) for k, v in attributes.items()}
    return hashlib.sha256(canonical_json([plain, digests]).encode()).hexdigest()


def read_shard(path: Path) -> Shard:
    """Read where everything lies in a shard, trusting nothing.

    Raises
    ------
    ShardError
        If the file is not a shard of this format version: wrong attributes, links out of the file, chunks, filters,
        object or compound dtypes, shapes that do not fit the rows or the file.
    """
    try:
        size = path.stat().st_size
        with h5py.File(path, "r") as file:
            header, n_rows, _ = _read_attributes(file, path)
            blocks = {name: _read_block(file, name, path, size) for name in _dataset_names(file, path)}
    except ShardError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError) as error:
        raise ShardError(f"shard {path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    key = blocks.pop("key", None)
    if key is None or key.shape != (n_rows, KEY_BYTES) or key.dtype != "uint8":
        raise ShardError(f"shard {path} has no (rows, {KEY_BYTES}) uint8 dataset 'key'")
    outputs = {name[9:]: block for name, block in blocks.items() if name.startswith("features/")}
    norms = {name[5:]: block for name, block in blocks.items() if name.startswith("norm/")}
    for name, block in outputs.items():
        norm = norms.get(name)
        if len(block.shape) != 2 or block.shape[0] != n_rows or block.dtype != header.storage_dtype:
            raise ShardError(f"shard {path}: output {name!r} is {block.shape} {block.dtype}, expected {n_rows} rows")
        if norm is None or norm.shape != (n_rows,) or norm.dtype != "float32":
            raise ShardError(f"shard {path}: output {name!r} has no float32 norm a row")
    if not outputs or len(outputs) + len(norms) != len(blocks) or outputs.keys() != norms.keys():
        raise ShardError(f"shard {path} holds unexpected datasets: {sorted(blocks)[:5]!r}")
    return Shard(path, size, header, key, outputs, norms)


def _read_attributes(file: Any, path: Path) -> tuple[ShardHeader, int, dict[str, Any]]:
    names = {"format_version", "fingerprint", "view", "storage_dtype", "rows", "versions", "checksum"}
    if set(file.attrs) != names:
        raise ShardError(f"shard {path} has attributes {sorted(file.attrs)[:9]!r}, expected {sorted(names)!r}")
    values: dict[str, Any] = {}
    for name in sorted(names):
        attribute = file.attrs.get_id(name)
        kind = attribute.dtype.kind
        expected = "i" if name in ("format_version", "rows") else "S"
        if kind != expected or attribute.shape != () or attribute.dtype.itemsize > _MAX_ATTRIBUTE:
            raise ShardError(f"shard {path}: attribute {name!r} has dtype {attribute.dtype}, shape {attribute.shape}")
        raw = file.attrs[name]
        values[name] = int(raw) if expected == "i" else bytes(raw)
    if values["format_version"] != FORMAT_VERSION:
        raise ShardError(
            f"shard {path} has format version {values['format_version']}, this program reads {FORMAT_VERSION}"
        )
    header = ShardHeader(*(values[name].decode() for name in ("fingerprint", "view", "storage_dtype")))
    if header.storage_dtype not in _STORAGE_DTYPES:
        raise ShardError(f"shard {path} has storage dtype {header.storage_dtype!r}")
    return header, values["rows"], values


def _dataset_names(file: Any, path: Path) -> list[str]:
    names = []
    for top in file:
        _check_hard_link(file, top, path)
        if top == "key":
            names.append(top)
        elif top in ("features", "norm") and file.get(top, getclass=True) is h5py.Group:
            for name in file[top]:
                _check_hard_link(file[top], name, path)
                names.append(f"{top}/{name}")
        else:
            raise ShardError(f"shard {path} holds unexpected object {top!r}")
    return names


def _check_hard_link(group: Any, name: str, path: Path) -> None:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ShardError(f"shard {path}: {name!r} is a {type(link).__name__}, links are refused")


def _read_block(file: Any, name: str, path: Path, size: int) -> Block:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ShardError(f"shard {path}: {name!r} is no dataset")
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or plist.get_nfilters():
        raise ShardError(f"shard {path}: dataset {name!r} is not contiguous within the file")
    if dataset.dtype.name not in ("uint8", "float16", "float32") or not dataset.dtype.isnative:
        raise ShardError(f"shard {path}: dataset {name!r} has dtype {dataset.dtype}")
    block = Block(dataset.id.get_offset() or 0, tuple(int(d) for d in dataset.shape), dataset.dtype.name)
    if block.nbytes and (block.offset <= 0 or block.offset + block.nbytes > size):
        raise ShardError(f"shard {path}: dataset {name!r} claims {block.nbytes} bytes, the file has {size}")
    return block


def verify_shard(shard: Shard) -> None:
    """Recompute every digest inside a shard.

    Raises
    ------
    ShardError
        Naming the first dataset, or the attributes, that differ from what was written.
    """
    with h5py.File(shard.path, "r") as file:
        _, _, attributes = _read_attributes(file, shard.path)
        blocks = {"key": shard.key}
        blocks |= {f"features/{name}": block for name, block in shard.outputs.items()}
        blocks |= {f"norm/{name}": block for name, block in shard.norms.items()}
        digests = {}
        for name, block in blocks.items():
            digests[name] = _digest(shard.map(block))
            recorded = file[name].attrs.get("sha256")
            if recorded is None or bytes(recorded) != digests[name].encode():
                raise ShardError(f"shard {shard.path}: dataset {name!r} ({block.shape[0]} rows) was damaged")
        checksum = attributes.pop("checksum").decode()
        if checksum != _checksum(attributes, digests):
            raise ShardError(f"shard {shard.path}: its attributes were damaged")
