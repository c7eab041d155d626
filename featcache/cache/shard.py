"""The HDF5 shard: rows of unique contents, written once, published whole, readable without HDF5's help.

A shard file that exists is complete. It holds ``key`` (n, 32) uint8, and per output ``features/<output>`` (n, d)
float16 or float32 and ``norm/<output>`` (n,) float32, all contiguous and without filters, so that a memory map at
``dataset.id.get_offset()`` reads rows at the speed of the page cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError
from featcache.files.hdf5 import HEAD_BYTES, Block, check_end, child_names, read_attributes, read_block
from featcache.files.regular import open_descriptor, open_regular
from featcache.identity.terms import KEY_BYTES, STORAGE_DTYPES

__all__ = [
    "Shard",
    "ShardHeader",
    "check_layout",
    "open_shard",
    "read_shard",
]

FORMAT_VERSION = 1
SUFFIX = ".h5"
_MAX_OUTPUTS = 1024
_HEAD_BYTES = 4096
"""At the beginning of a file, in which HDF5 puts the attributes, which are set before datasets are made."""
ATTRIBUTES = {"format_version": "i", "rows": "i"} | dict.fromkeys(
    ("fingerprint", "view", "storage_dtype", "versions", "checksum"), "S"
)


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
        Dtype of the features on disk.
    """

    fingerprint: str
    view: str
    storage_dtype: str


@dataclass(frozen=True)
class Shard:
    """One readable shard file.

    Attributes
    ----------
    path : Path
        Where the file is.
    size : int
        Its size in bytes when it was read; another size later means that somebody broke the rule of immutability.
    header : ShardHeader
        What its rows are: producer, view and dtype.
    key : Block
        Where the keys of its contents lie.
    outputs, norms : mapping of output name to Block
        Features and their L2 norms before the cast.
    checksum : str
        Sha256 of its attributes and of the digests of its datasets: by it the file is known again.
    """

    path: Path
    size: int
    header: ShardHeader
    key: Block
    outputs: Mapping[str, Block]
    norms: Mapping[str, Block]
    checksum: str = field(default="", compare=False)

    @property
    def n_rows(self) -> int:
        """Number of contents."""
        return self.key.shape[0]

    @property
    def blocks(self) -> Mapping[str, Block]:
        """All datasets by their names in the file."""
        blocks = {"key": self.key}
        blocks |= {f"features/{name}": block for name, block in self.outputs.items()}
        return blocks | {f"norm/{name}": block for name, block in self.norms.items()}

    def map(self, block: Block) -> NDArray[Any]:
        """Map one block read-only; ShardError as `open_shard`."""
        with open_shard(self, block) as descriptor, open(descriptor, "rb", buffering=0, closefd=False) as file:
            return np.memmap(file, dtype=block.dtype, mode="r", offset=block.offset, shape=block.shape)


@contextmanager
def open_shard(shard: Shard, block: Block) -> Iterator[int]:
    """Open a shard's file to read or map one of its blocks; HDF5 is asked only about a strange file.

    Yields
    ------
    int
        The descriptor of the open file.

    Raises
    ------
    ShardError
        If it is no regular file, has not the size that it had, or is another shard than it was.
    """
    try:
        descriptor = open_descriptor(shard.path)
    except OSError as error:
        raise unreadable(shard.path, error) from error
    try:
        size = os.fstat(descriptor).st_size
        if size != shard.size or block.offset + block.nbytes > size:
            raise ShardError(f"shard {shard.path} has {size} bytes, expected {shard.size}: run `featcache verify`")
        if not shard.checksum or shard.checksum.encode() not in os.read(descriptor, _HEAD_BYTES):
            _check_same(shard)
        yield descriptor
    finally:
        os.close(descriptor)


def _check_same(shard: Shard) -> None:
    """Raise `ShardError` unless the file has the producer, the view and the layout that it had."""
    found = read_shard(shard.path)
    if found != shard:
        was, is_ = (
            f"rows of {s.header.fingerprint[:12]!r}, view {s.header.view!r}, outputs {sorted(s.outputs)!r}"
            for s in (shard, found)
        )
        raise ShardError(
            f"shard {shard.path} holds {is_}: expected {was}{' in another layout' if was == is_ else ''}; "
            "it was moved or swapped, run `featcache verify`"
        )


def read_shard(path: Path) -> Shard:
    """Read where everything lies in a shard, trusting nothing.

    Raises
    ------
    ShardError
        If the file is not a shard of this format version: wrong attributes, links out of the file, chunks, filters,
        object or compound dtypes, shapes that do not fit the rows or the file, bytes behind its end.
    """
    try:
        with open_regular(path) as raw:
            head, size = raw.read(HEAD_BYTES), os.fstat(raw.fileno()).st_size
        with h5py.File(path, "r") as file:
            check_end(head, size, f"shard {path}")
            header, n_rows, checksum = _read_header(file, path)
            blocks = _read_blocks(file, path, size)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise unreadable(path, error) from error
    outputs = {name[9:]: block for name, block in blocks.items() if name.startswith("features/")}
    norms = {name[5:]: block for name, block in blocks.items() if name.startswith("norm/")}
    shard = Shard(path, size, header, blocks["key"], outputs, norms, checksum)
    check_layout(shard)
    if shard.n_rows != n_rows:
        raise ShardError.damaged(f"shard {path} has {shard.n_rows} keys, its attributes say {n_rows} rows")
    return shard


def unreadable(path: Path, error: Exception) -> ShardError:
    """Return what to raise where reading a shard has failed so."""
    why = " ".join(str(error).split())[:200]
    # What the system refuses (permissions, a network that is down) is no damage.
    is_damage = getattr(error, "errno", None) is None
    what = f"shard {path} cannot be read: {why}"
    return ShardError.damaged(what) if is_damage else ShardError(what)


def check_layout(shard: Shard) -> None:
    """Raise `ShardError` unless keys, outputs and norms have the shapes and dtypes of one shard and lie in its file."""
    n, path = shard.n_rows, shard.path
    if shard.key.shape != (n, KEY_BYTES) or shard.key.dtype != "uint8":
        raise ShardError.damaged(f"shard {path} has no (rows, {KEY_BYTES}) uint8 dataset 'key'")
    if not shard.outputs or shard.outputs.keys() != shard.norms.keys():
        raise ShardError.damaged(
            f"shard {path} holds outputs {sorted(shard.outputs)!r} and norms {sorted(shard.norms)!r}"
        )
    for name, block in shard.outputs.items():
        norm = shard.norms[name]
        if len(block.shape) != 2 or block.shape[0] != n or block.dtype != shard.header.storage_dtype:
            raise ShardError.damaged(f"shard {path}: output {name!r} is {block.shape} {block.dtype}, expected {n} rows")
        if norm.shape != (n,) or norm.dtype != "float32":
            raise ShardError.damaged(f"shard {path}: output {name!r} has no float32 norm a row")
    if any(b.offset < 0 or b.offset + b.nbytes > shard.size for b in shard.blocks.values()):
        raise ShardError.damaged(f"shard {path} claims more bytes than the {shard.size} of its file")


def _read_header(file: Any, path: Path) -> tuple[ShardHeader, int, str]:
    values = read_attributes(file, ATTRIBUTES, f"shard {path}")
    if values["format_version"] != FORMAT_VERSION:
        raise ShardError(
            f"shard {path} has format version {values['format_version']}, this program reads {FORMAT_VERSION}"
        )
    header = ShardHeader(*(values[name].decode() for name in ("fingerprint", "view", "storage_dtype")))
    if header.storage_dtype not in STORAGE_DTYPES:
        raise ShardError.damaged(f"shard {path} has storage dtype {header.storage_dtype!r}")
    return header, values["rows"], values["checksum"].decode()


def _read_blocks(file: Any, path: Path, size: int) -> dict[str, Block]:
    where = f"shard {path}"
    top = child_names(file, 3, where)
    if top != ["features", "key", "norm"]:
        raise ShardError.damaged(f"{where} holds {top!r}, expected ['features', 'key', 'norm']")
    blocks = {"key": read_block(file, "key", size, where, ("uint8",))}
    for folder, dtypes in (("features", STORAGE_DTYPES), ("norm", ("float32",))):
        if file.get(folder, getclass=True) is not h5py.Group:
            raise ShardError.damaged(f"{where}: {folder!r} is no group")
        group = file[folder]
        for name in child_names(group, _MAX_OUTPUTS, where):
            blocks[f"{folder}/{name}"] = read_block(group, name, size, where, dtypes)
    return blocks
