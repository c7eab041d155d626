"""HDF5 files of the cache: made in memory, and read with suspicion.

HDF5's own output is never used on a file: when the disk is full it fails half-way, and the library (2.0) then crashes
the process that tries to close the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import h5py
import numpy as np

from featcache.errors import ShardError

__all__ = ["HEAD_BYTES", "Block", "build_image", "check_end", "child_names", "read_attributes", "read_block"]

HEAD_BYTES = 64
"""At the beginning of a file: `check_end` looks at them."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_ADDRESS = {0: 40, 1: 44, 2: 28, 3: 28}
"""Where in a file the address of its end is, by the version of its superblock."""
_ALIGNMENT = 64
_OVERHEAD = 1 << 16
_MAX_ATTRIBUTE = 65536
_DTYPES = {"u1": "uint8", "i1": "int8", "i2": "int16", "u4": "uint32", "i8": "int64", "f2": "float16", "f4": "float32"}


@dataclass(frozen=True)
class Block:
    """Where one dataset lies in its file: enough to map it without opening HDF5."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        size = np.dtype(self.dtype).itemsize
        for length in self.shape:
            size *= length
        return size


def build_image(fill: Callable[[Any], None], n_bytes: int) -> memoryview:
    """Return the bytes of an HDF5 file that ``fill`` has filled; its datasets start at multiples of 64 bytes.

    ``n_bytes`` is about what goes into it: so much memory is taken at once.
    """
    # HDF5's own files in memory can only be copied out. Nothing is interpreted inside of its calls to a BytesIO: no
    # interrupt can make one of them fail.
    image = BytesIO()
    with h5py.File(image, "w", alignment_threshold=1, alignment_interval=_ALIGNMENT) as file:
        image.seek(n_bytes + _OVERHEAD)
        image.write(b"\0")
        fill(file)
    return image.getbuffer()


def check_end(head: bytes, size: int, where: str) -> None:
    """Raise `ShardError` unless a file of ``size`` bytes that begins with ``head`` ends where HDF5 says that it does.

    HDF5 itself takes no notice of what lies behind that.
    """
    start = _END_ADDRESS.get(head[8]) if len(head) == HEAD_BYTES and head.startswith(_SIGNATURE) else None
    if start is None:
        raise ShardError.damaged(f"{where} does not begin as an HDF5 file of the cache")
    end = int.from_bytes(head[start : start + 8], "little")
    if end != size:
        raise ShardError.damaged(f"{where} has {size} bytes, its HDF5 head says {end}")


def read_attributes(owner: Any, kinds: Mapping[str, str], where: str) -> dict[str, Any]:
    """Read the attributes of a file or dataset, which must be these and no others.

    Parameters
    ----------
    owner : h5py.File or h5py.Dataset
        The file or dataset that has the attributes.
    kinds : mapping of name to {"i", "S"}
        Expected: a scalar integer, or a scalar byte string of fixed length.
    where : str
        What messages call the file.

    Returns
    -------
    dict
        Their values by name: integers and bytes.
    """
    n_found = len(owner.attrs)
    names = set(owner.attrs) if n_found == len(kinds) else set()
    if names != set(kinds):
        raise ShardError.damaged(f"{where} has {n_found} attributes {sorted(names)!r}, expected {sorted(kinds)!r}")
    values: dict[str, Any] = {}
    for name, expected in sorted(kinds.items()):
        attribute = owner.attrs.get_id(name)
        size = attribute.dtype.itemsize
        if attribute.dtype.kind != expected or attribute.shape != () or not 0 < size <= _MAX_ATTRIBUTE:
            raise ShardError.damaged(
                f"{where}: attribute {name!r} has dtype {attribute.dtype}, shape {attribute.shape}"
            )
        raw = owner.attrs[name]
        values[name] = int(raw) if expected == "i" else bytes(raw)
    return values


def child_names(group: Any, limit: int, where: str) -> list[str]:
    """Return the names in a group, which are hard links and at most ``limit``."""
    if len(group) > limit:
        raise ShardError.damaged(f"{where} holds {len(group)} objects in {group.name!r}, expected at most {limit}")
    names = sorted(group)
    for name in names:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ShardError.damaged(f"{where}: {name!r} is a {type(link).__name__}, links are refused")
    return names


def read_block(group: Any, name: str, size: int, where: str, dtypes: Collection[str]) -> Block:
    """Read where a dataset lies, which must be contiguous within a file of ``size`` bytes and of one of ``dtypes``."""
    if group.get(name, getclass=True) is not h5py.Dataset:
        raise ShardError.damaged(f"{where}: {name!r} is no dataset")
    dataset = group[name]
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or plist.get_nfilters():
        raise ShardError.damaged(f"{where}: dataset {name!r} is not contiguous within the file")
    dtype = dataset.dtype
    kind = dtype.str if dtype.kind == "S" else _DTYPES.get(dtype.str.lstrip("<|"), dtype.str)
    if kind not in dtypes:
        raise ShardError.damaged(f"{where}: dataset {name!r} has dtype {dtype}, expected {' or '.join(sorted(dtypes))}")
    block = Block(dataset.id.get_offset() or 0, tuple(int(d) for d in dataset.shape or ()), kind)
    if dataset.shape is None or (block.nbytes and (block.offset <= 0 or block.offset + block.nbytes > size)):
        raise ShardError.damaged(f"{where}: dataset {name!r} claims {block.nbytes} bytes, the file has {size}")
    return block
