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
from featcache.hdf5 import build_image, child_names, read_attributes, read_block
from featcache.publish import replace_file, temporary_beside
from featcache.sealed import write_bytes

__all__ = [
    "ABSENT",
    "PRESENT",
    "UNREADABLE",
    "SampleTable",
    "StringColumn",
    "read_origin",
    "read_samples",
    "write_samples",
]

FORMAT_VERSION = 1
PRESENT, ABSENT, UNREADABLE = 0, 1, 2
"""State of one side of a sample: has a content key; was never given; was named but could not be read."""
_MAX_ARRAY = 1 << 32


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
        """Return all strings as a unicode array (n,).

        Raises
        ------
        ShardError
            If the longest is so long that the array, in which every row has its width, would take over 4 GiB.
        """
        longest = int(np.diff(self.offsets).max(initial=0))
        if 4 * longest * len(self) > _MAX_ARRAY:
            raise ShardError(
                f"a column of {len(self)} texts, the longest of {longest} bytes, is too large for an array"
            )
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
_FIXED = {"split": "|S5", "label_a": "int8", "label_b": "int16", "width": "uint32", "height": "uint32"} | dict.fromkeys(
    ("image_key", "text_key", "image_status", "text_status"), "uint8"
)
_COLUMNS = _FIXED | {
    f"{name}.{part}": dtype
    for name in (*_STRINGS, "class_names")
    for part, dtype in (("utf8", "uint8"), ("offsets", "int64"))
}
_TEXTS = ("dataset", "origin")
_SPLITS = ("", "train", "valid", "test")
_MAX_TEXT = 1 << 16


def _digest(columns: Mapping[str, NDArray[Any]], texts: Sequence[str]) -> str:
    digest = hashlib.sha256("\x00".join(texts).encode("utf-8", "surrogateescape"))
    for name in sorted(columns):
        digest.update(f"\x00{name} {columns[name].shape}\x00".encode())
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
    checksum = _digest(columns, [table.dataset, table.origin])
    for name in _TEXTS:
        columns[name] = np.frombuffer(getattr(table, name).encode("utf-8", "surrogateescape"), np.uint8)

    def fill(file: Any) -> None:
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        file.attrs["checksum"] = np.bytes_(checksum)
        for name, data in columns.items():
            file.create_dataset(name, data=data)

    with temporary_beside(path) as temp:
        write_bytes(temp, build_image(fill), path)
        replace_file(temp, path)


def read_samples(path: Path) -> SampleTable:
    """Read a table and check its digest.

    Raises
    ------
    ShardError
        If the file is no sample table of this version, or was damaged.
    """
    where = f"sample table {path}"
    try:
        with h5py.File(path, "r") as file:
            values = read_attributes(file, {"format_version": "i", "checksum": "S"}, where)
            if values["format_version"] != FORMAT_VERSION:
                raise ShardError(
                    f"{where} has format version {values['format_version']}, this program reads {FORMAT_VERSION}"
                )
            size = path.stat().st_size
            columns = {name: _read_column(file, name, dtype, size, where) for name, dtype in _COLUMNS.items()}
            dataset, origin = (_read_text(file, name, size, where) for name in _TEXTS)
            if len(child_names(file, len(_COLUMNS) + len(_TEXTS), where)) != len(_COLUMNS) + len(_TEXTS):
                raise ShardError(f"{where} lacks columns")
        if _digest(columns, [dataset, origin]).encode() != values["checksum"]:
            raise ShardError(f"{where} was damaged: run `featcache extract` on its data again")
        table = _build(columns, dataset, origin)
    except ShardError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError) as error:
        raise ShardError(f"{where} cannot be read: {' '.join(str(error).split())[:200]}") from error
    _check_rows(table, where)
    return table


def read_origin(path: Path) -> str | None:
    """Return what a table, even a damaged one, says that it was read from; None if that cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return _read_text(file, "origin", path.stat().st_size, str(path)) or None
    except (ShardError, OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError):
        return None


def _read_column(file: Any, name: str, dtype: str, size: int, where: str) -> NDArray[Any]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ShardError(f"{where}: {name!r} is a link, links are refused")
    block = read_block(file, name, size, where, (dtype,))
    if len(block.shape) != (2 if name.endswith("_key") else 1):
        raise ShardError(f"{where}: {name!r} has shape {block.shape}")
    return np.asarray(file[name][...])


def _read_text(file: Any, name: str, size: int, where: str) -> str:
    raw = _read_column(file, name, "uint8", size, where)
    if len(raw) > _MAX_TEXT:
        raise ShardError(f"{where}: {name!r} has {len(raw)} bytes, expected at most {_MAX_TEXT}")
    return raw.tobytes().decode("utf-8", "surrogateescape")


def _build(columns: Mapping[str, NDArray[Any]], dataset: str, origin: str) -> SampleTable:
    def strings(name: str) -> StringColumn:
        blob, offsets = columns[f"{name}.utf8"], columns[f"{name}.offsets"]
        if not len(offsets) or offsets[0] or offsets[-1] != len(blob) or (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets of {name!r} do not divide its {len(blob)} bytes")
        return StringColumn(blob, offsets)

    values: dict[str, Any] = {name: strings(name) for name in _STRINGS}
    values |= {name: columns[name] for name in _FIXED if name != "split"}
    class_names = tuple(strings("class_names").to_array().tolist())
    split = np.char.decode(columns["split"], "ascii")
    return SampleTable(dataset, origin, class_names, split=split, **values)


def _check_rows(table: SampleTable, where: str) -> None:
    for field in fields(table):
        value = getattr(table, field.name)
        if not isinstance(value, (str, tuple)) and len(value) != len(table):
            raise ShardError(f"{where}: column {field.name!r} has {len(value)} rows, expected {len(table)}")
    for name, low, high in (
        ("label_a", -1, 1),
        ("label_b", -1, len(table.class_names) - 1),
        ("image_status", PRESENT, UNREADABLE),
        ("text_status", PRESENT, UNREADABLE),
    ):
        values = getattr(table, name)
        if len(values) and not low <= int(values.min()) <= int(values.max()) <= high:
            raise ShardError(f"{where}: {name} runs from {values.min()} to {values.max()}, expected {low} to {high}")
    if not np.isin(table.split, _SPLITS).all() or table.image_key.shape[1] != 32 or table.text_key.shape[1] != 32:
        raise ShardError(f"{where} has a split that is none of {_SPLITS!r}, or keys that are no sha256")
