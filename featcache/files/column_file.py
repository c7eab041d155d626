"""Files of columns: contiguous arrays in one HDF5 file with one checksum, mapped into memory instead of read."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError
from featcache.files.hdf5 import HEAD_BYTES, Block, build_image, check_end, child_names, read_attributes, read_block
from featcache.files.regular import open_regular
from featcache.files.whole import replace_bytes

__all__ = ["READ_ERRORS", "ColumnFile"]

READ_ERRORS = (ShardError, OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError)
"""What reading an untrusted file of columns can raise."""


@dataclass(frozen=True)
class ColumnFile:
    """What a file of columns holds.

    Attributes
    ----------
    columns : mapping of name to array
        Read-only. Of a file that was opened: mapped, so that many processes share one copy, which takes memory only
        while there is room for it. Such a file is replaced whole and never written to: the mapping stays what it was.
    format_version : int
        Version of the format of this kind of file.
    head : tuple of str
        Names of columns that the checksum begins with, each followed by a NUL but for the last.
    checksum : bytes
        What the file says that its checksum is; empty before it is written.
    """

    columns: Mapping[str, NDArray[Any]]
    format_version: int
    head: tuple[str, ...] = ()
    checksum: bytes = b""

    @classmethod
    def open(
        cls,
        path: Path,
        dtypes: Mapping[str, str],
        *,
        format_version: int,
        optional: Collection[Collection[str]] = (),
        head: tuple[str, ...] = (),
        where: str,
    ) -> ColumnFile:
        """Map the columns of a file, which must be these; of each ``optional`` group all are there or none.

        Raises
        ------
        ShardError
            If it has another version, other columns, or columns of another type or outside of the file, or does not
            end where HDF5 says.
        OSError, RuntimeError, …
            One of `READ_ERRORS`, if it is no such file at all.
        """
        with open_regular(path) as raw, h5py.File(raw, "r") as file:
            size = os.fstat(raw.fileno()).st_size
            raw.seek(0)
            check_end(raw.read(HEAD_BYTES), size, where)
            values = read_attributes(file, {"format_version": "i", "checksum": "S"}, where)
            if values["format_version"] != format_version:
                raise ShardError(
                    f"{where} has format version {values['format_version']}, this program reads {format_version}"
                )
            found = set(child_names(file, len(dtypes), where))
            wanted = set(dtypes).difference(*(group for group in optional if not found & set(group)))
            if found != wanted:
                odd = sorted(found ^ wanted)[0]
                raise ShardError.damaged(f"{where} {'lacks' if odd in wanted else 'has an unknown'} column {odd!r}")
            blocks = {name: read_block(file, name, size, where, (dtypes[name],)) for name in sorted(wanted)}
            mapped = mmap.mmap(raw.fileno(), size, access=mmap.ACCESS_READ)
        columns = {name: _map(mapped, block) for name, block in blocks.items()}
        return cls(columns, format_version, head, values["checksum"])

    @property
    def is_intact(self) -> bool:
        """Whether the checksum is that of the columns; reads them all."""
        return self._digest().encode() == self.checksum

    def write(self, path: Path, *, root: Path) -> None:
        """Write the file below ``root``, atomically replacing an earlier one."""

        def fill(file: Any) -> None:
            file.attrs["format_version"] = np.int64(self.format_version)
            file.attrs["checksum"] = np.bytes_(self._digest())
            for name, data in self.columns.items():
                file.create_dataset(name, data=np.ascontiguousarray(data))

        replace_bytes(path, build_image(fill, sum(data.nbytes for data in self.columns.values())), root=root)

    def _digest(self) -> str:
        digest = hashlib.sha256(b"\0".join(self.columns[name].tobytes() for name in self.head))
        for name in sorted(self.columns.keys() - set(self.head)):
            digest.update(f"\0{name} {self.columns[name].shape}\0".encode())
            digest.update(np.ascontiguousarray(self.columns[name]).data)
        return digest.hexdigest()


def _map(mapped: mmap.mmap, block: Block) -> NDArray[Any]:
    count = block.nbytes // np.dtype(block.dtype).itemsize
    if not count:
        return np.empty(block.shape, block.dtype)
    return np.frombuffer(mapped, block.dtype, count, block.offset).reshape(block.shape)
