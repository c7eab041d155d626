"""The sample table: which contents a data set's samples are made of, and all that is known of each sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.errors import ShardError
from featcache.publish import replace_file, temporary_beside

__all__ = ["ABSENT", "PRESENT", "UNREADABLE", "SampleTable", "StringColumn", "read_samples", "write_samples"]

FORMAT_VERSION = 1
PRESENT, ABSENT, UNREADABLE = 0, 1, 2
"""State of one side of a sample: has a content key; was never given; was named but could not be read."""


@dataclass(frozen=True)
class StringColumn:
    """Strings as one UTF-8 blob and n + 1 offsets: no object arrays on disk, nothing decoded before it is needed."""

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def from_strings(cls, values: Sequence[str]) -> StringColumn:
        """Pack strings."""
        encoded = [value.encode("utf-8", "surrogateescape") for value in values]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(e) for e in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes().decode("utf-8", "surrogateescape")

    def to_array(self) -> NDArray[np.str_]:
        """Return all strings as a unicode array (n,)."""
        raw, ends = self.blob.tobytes(), self.offsets.tolist()
        return np.array(
            [raw[a:b].decode("utf-8", "surrogateescape") for a, b in pairwise(ends)],
            dtype=np.str_,
        ).reshape(len(self))

    def select(self, rows: NDArray[Any]) -> StringColumn:
        """Return some rows."""
        return StringColumn.from_strings([self[int(i)] for i in np.arange(len(self))[rows]])


@dataclass(frozen=True)
class SampleTable:
    """Columns of ``n`` samples, in the order of the manifest.

    Attributes
    ----------
    dataset, origin : str
        Name of the data set, and what it was read from.
    class_names : tuple of str
        ``("real", generator, …)``: what the codes of ``label_b`` mean.
    sample_id, group, source : StringColumn
        ``group`` is ``""`` where none was given; ``source`` is the picture's path or name, ``""`` without one.
    split : (n,) str
        ``train``, ``valid``, ``test``, or ``""`` for none.
    label_a : (n,) int8
        0 real, 1 AI, -1 unknown.
    label_b : (n,) int16
        0 real, k the k-th generator, -1 unknown.
    image_key, text_key : (n, 32) uint8
        Sha256 of the file's bytes and of the caption's UTF-8; zeros where there is none.
    image_status, text_status : (n,) uint8
        `PRESENT`, `ABSENT` or `UNREADABLE`.
    width, height : (n,) uint32
        Of the stored picture in pixels, 0 if unknown. For audits: they give generators away, so no head sees them.
    """

    dataset: str
    origin: str
    class_names: tuple[str, ...]
    sample_id: StringColumn
    group: StringColumn
    source: StringColumn
    split: NDArray[np.str_]
    label_a: NDArray[np.int8]
    label_b: NDArray[np.int16]
    image_key: NDArray[np.uint8]
    text_key: NDArray[np.uint8]
    image_status: NDArray[np.uint8]
    text_status: NDArray[np.uint8]
    width: NDArray[np.uint32]
    height: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.label_a)

    def keys(self, modality: str) -> NDArray[np.uint8]:
        """Content keys (n, 32) of one side."""
        return self.image_key if modality == "image" else self.text_key

    def has(self, modality: str) -> NDArray[np.bool_]:
        """Which samples have a content on one side."""
        return np.equal(self.image_status if modality == "image" else self.text_status, PRESENT)

    def unique_keys(self, modality: str) -> NDArray[np.uint8]:
        """Contents of one side, each once, in the order of first appearance: (u, 32)."""
        return self.keys(modality)[self.first_rows(modality)]

    def first_rows(self, modality: str) -> NDArray[np.int64]:
        """Return the first row of each content of one side, ascending."""
        rows = np.flatnonzero(self.has(modality))
        keys = np.ascontiguousarray(self.keys(modality)[rows]).view("V32").reshape(-1)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        first = np.ones(len(rows), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return np.sort(rows[order[first]])


_STRINGS = ("sample_id", "group", "source")
_FIXED = {"split": "S", "label_a": "int8", "label_b": "int16", "width": "uint32", "height": "uint32"} | dict.fromkeys(
    ("image_key", "text_key", "image_status", "text_status"), "uint8"
)


def _digest(columns: Mapping[str, NDArray[Any]], texts: Sequence[str]) -> str:
    digest = hashlib.sha256("\x00".join(texts).encode("utf-8", "surrogateescape"))
    for name in sorted(columns):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(columns[name]).tobytes())
    return digest.hexdigest()


def write_samples(path: Path, table: SampleTable) -> None:
    """Write a table, atomically replacing an earlier one of the same data set."""
    columns: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(getattr(table, name)) for name in _FIXED}
    columns["split"] = np.char.encode(table.split, "ascii").astype("S5")
    for name in _STRINGS:
        column: StringColumn = getattr(table, name)
        columns[f"{name}.utf8"], columns[f"{name}.offsets"] = column.blob, column.offsets
    names = StringColumn.from_strings(table.class_names)
    columns["class_names.utf8"], columns["class_names.offsets"] = names.blob, names.offsets
    with temporary_beside(path) as temp:
        with h5py.File(temp, "w-") as file:
            file.attrs["format_version"] = np.int64(FORMAT_VERSION)
            file.attrs["checksum"] = np.bytes_(_digest(columns, [table.dataset, table.origin]))
            columns["dataset"] = np.frombuffer(table.dataset.encode(), np.uint8)
            columns["origin"] = np.frombuffer(table.origin.encode("utf-8", "surrogateescape"), np.uint8)
            for name, data in columns.items():
                file.create_dataset(name, data=data)
        replace_file(temp, path)


def read_samples(path: Path) -> SampleTable:
    """Read a table and check its digest.

    Raises
    ------
    ShardError
        If the file is no sample table of this version, or was damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            version = int(file.attrs["format_version"])
            if version != FORMAT_VERSION:
                raise ShardError(
                    f"sample table {path} has format version {version}, this program reads {FORMAT_VERSION}"
                )
            checksum = bytes(file.attrs["checksum"]).decode()
            size = path.stat().st_size
            columns = {name: _read_column(file, name, size, path) for name in sorted(file)}
        dataset = columns.pop("dataset").tobytes().decode()
        origin = columns.pop("origin").tobytes().decode("utf-8", "surrogateescape")
        if _digest(columns, [dataset, origin]) != checksum:
            raise ShardError(f"sample table {path} was damaged: run `featcache extract` on its data again")
        table = _build(columns, dataset, origin)
    except ShardError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError) as error:
        raise ShardError(f"sample table {path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    _check_lengths(table, path)
    return table


def _read_column(file: Any, name: str, size: int, path: Path) -> NDArray[Any]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ShardError(f"sample table {path}: {name!r} is no dataset of this file")
    dataset = file[name]
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or dataset.dtype.kind not in "iuS":
        raise ShardError(f"sample table {path}: {name!r} is not contiguous within the file, or {dataset.dtype}")
    if dataset.size * dataset.dtype.itemsize > size:
        raise ShardError(f"sample table {path}: {name!r} claims {dataset.size} values, the file has {size} bytes")
    return np.asarray(dataset[...])


def _build(columns: Mapping[str, NDArray[Any]], dataset: str, origin: str) -> SampleTable:
    def strings(name: str) -> StringColumn:
        return StringColumn(columns[f"{name}.utf8"], columns[f"{name}.offsets"])

    values: dict[str, Any] = {name: strings(name) for name in _STRINGS}
    values |= {name: columns[name].astype(dtype, copy=False) for name, dtype in _FIXED.items() if name != "split"}
    class_names = tuple(strings("class_names").to_array().tolist())
    split = np.char.decode(columns["split"], "ascii")
    return SampleTable(dataset, origin, class_names, split=split, **values)


def _check_lengths(table: SampleTable, path: Path) -> None:
    for field in fields(table):
        value = getattr(table, field.name)
        if not isinstance(value, (str, tuple)) and len(value) != len(table):
            raise ShardError(f"sample table {path}: column {field.name!r} has {len(value)} rows, expected {len(table)}")
