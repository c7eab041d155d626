"""The sample table: which contents a data set's samples are made of, and all that is known of each sample."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.file_facts import FORMATS, FileFacts
from featcache.errors import ShardError
from featcache.files.column_file import READ_ERRORS, ColumnFile
from featcache.files.string_column import StringColumn
from featcache.identity.key_index import group_keys, number_keys
from featcache.identity.terms import KEY_BYTES, Content

__all__ = [
    "ABSENT",
    "PRESENT",
    "UNREADABLE",
    "SampleTable",
    "read_samples",
    "write_samples",
]

FORMAT_VERSION = 1
PRESENT, ABSENT, UNREADABLE = 0, 1, 2
"""State of a content of a sample: it has a key; was never given; was named but could not be read."""


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
        Whether there is a content: `PRESENT`, `ABSENT` or `UNREADABLE`.
    width, height : (n,) uint32
        Size of the stored picture in pixels, 0 if unknown. For audits: they give generators away, so no head sees them.
    files : FileFacts or None
        What else the picture files are, for audits too. None: the table was made before that was looked at.
    split_seed : int or None
        Seed of the split, if it was made here. None: the manifest has splits, or the table is an old one.
    rules : int
        By which labels and captions were read; 1 in old tables.
    labels : str
        What the user stated about labels, ``""`` if nothing.
    columns, root : str
        Columns that the user named, as ``--column`` takes them, and the folder below which pictures are; ``""`` if
        nothing was said.
    splits : str
        What the user stated about names of splits, ``""`` if nothing.
    row_origin : StringColumn or None
        Where each sample comes from, ``""`` where that is not said. None: the data say it of no sample.
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
    files: FileFacts | None = None
    split_seed: int | None = None
    rules: int = 1
    labels: str = ""
    columns: str = ""
    root: str = ""
    splits: str = ""
    row_origin: StringColumn | None = None

    def __len__(self) -> int:
        return len(self.label_a)

    def keys(self, content: Content) -> NDArray[np.uint8]:
        """Keys (n, 32) of the captions or of the pictures."""
        return self.text_key if content == "text" else self.image_key

    def has(self, content: Content) -> NDArray[np.bool_]:
        """Which samples have a caption, or a picture: (n,)."""
        return np.equal(self.text_status if content == "text" else self.image_status, PRESENT)

    def unique_keys(self, content: Content) -> NDArray[np.uint8]:
        """Keys of the captions or of the pictures, each once, in the order of first appearance: (u, 32)."""
        return self.keys(content)[self.first_rows(content)]

    def first_rows(self, content: Content) -> NDArray[np.int64]:
        """Return the first row of each caption or picture, ascending."""
        rows = np.flatnonzero(self.has(content))
        order, is_first = group_keys(self.keys(content)[rows])
        return np.sort(rows[order[is_first]])

    def content_numbers(self, content: Content) -> NDArray[np.int64]:
        """Number the captions or the pictures from 0, in any order: (n,), -1 for samples that have none."""
        return number_keys(self.keys(content), self.has(content))

    @property
    def bytes_per_pixel(self) -> NDArray[np.float32]:
        """Size of the picture file by its pixels, (n,); NaN if unknown. For audits."""
        found = np.full(len(self), np.nan, np.float32)
        if self.files is not None:
            known = (self.files.n_bytes > 0) & (self.width > 0) & (self.height > 0)
            pixels = self.width[known].astype(np.float64) * self.height[known]
            found[known] = self.files.n_bytes[known] / pixels
        return found


_STRINGS = ("sample_id", "group", "source")
_KEYS = ("image_key", "text_key")
_FIXED = {"split": "|S5", "label_a": "int8", "label_b": "int16", "width": "uint32", "height": "uint32"} | dict.fromkeys(
    (*_KEYS, "image_status", "text_status"), "uint8"
)
_FACTS = {"image_format": "uint8", "n_bytes": "uint32", "has_exif": "int8"}
_LATER = _FACTS | {"split_seed": "uint8"}
_READING = {"rules": "uint8", "labels": "uint8"}
_NAMED = {"columns": "uint8", "root": "uint8"}
_SPLIT_WORDS = {"splits": "uint8"}
_ROW_ORIGIN = {"row_origin.utf8": "uint8", "row_origin.offsets": "int64"}
_TEXTS = ("dataset", "origin")
_COLUMNS = (
    _FIXED
    | _LATER
    | _READING
    | _NAMED
    | _SPLIT_WORDS
    | _ROW_ORIGIN
    | dict.fromkeys(_TEXTS, "uint8")
    | {
        f"{name}.{part}": dtype
        for name in (*_STRINGS, "class_names")
        for part, dtype in (("utf8", "uint8"), ("offsets", "int64"))
    }
)
_SPLITS = ("", "train", "valid", "test")
_STATUS = (PRESENT, UNREADABLE)
_RANGES = {"label_a": (-1, 1), "image_status": _STATUS, "text_status": _STATUS} | {
    "image_format": (0, len(FORMATS) - 1),
    "has_exif": (-1, 1),
}
_MAX_TEXT = 1 << 16
_SEED = re.compile(r"-?\d{1,100}")


def write_samples(path: Path, table: SampleTable, *, root: Path) -> None:
    """Write a table into the cache ``root``, atomically replacing an earlier one of the same data set."""
    columns: dict[str, NDArray[Any]] = {name: getattr(table, name) for name in _FIXED if name != "split"}
    columns["split"] = table.split.astype("S5")
    names = StringColumn.from_strings(table.class_names)
    for name, column in (*((name, getattr(table, name)) for name in _STRINGS), ("class_names", names)):
        columns[f"{name}.utf8"], columns[f"{name}.offsets"] = column.blob, column.offsets
    for name in _TEXTS:
        columns[name] = _packed(getattr(table, name))
    if table.files is not None:
        files = table.files
        columns |= {"image_format": files.format, "n_bytes": files.n_bytes, "has_exif": files.has_exif}
        columns["split_seed"] = _packed("" if table.split_seed is None else str(table.split_seed))
    if table.rules > 1 or table.labels:
        columns |= {"rules": _packed(str(table.rules)), "labels": _packed(table.labels)}
    if table.columns or table.root:
        columns |= {"columns": _packed(table.columns), "root": _packed(table.root)}
    if table.splits:
        columns["splits"] = _packed(table.splits)
    if table.row_origin is not None:
        columns["row_origin.utf8"], columns["row_origin.offsets"] = table.row_origin.blob, table.row_origin.offsets
    ColumnFile(columns, FORMAT_VERSION, _TEXTS).write(path, root=root)


def _packed(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def read_samples(path: Path) -> SampleTable:
    """Map a table into memory and check its digest.

    Raises
    ------
    ShardError
        If the file is no sample table of this version, or was damaged.
    """
    where = f"sample table {path}"
    try:
        optional = (_LATER, _READING, _NAMED, _SPLIT_WORDS, _ROW_ORIGIN)
        file = ColumnFile.open(
            path, _COLUMNS, format_version=FORMAT_VERSION, optional=optional, head=_TEXTS, where=where
        )
        _check_shapes(file.columns, where)
        if not file.is_intact:
            raise ShardError(f"{where} was damaged: run `featcache extract` on its data again")
        return _build(file.columns, where)
    except ShardError:
        raise
    except READ_ERRORS as error:
        why = " ".join(str(error).split())[:200]
        raise ShardError.damaged(f"{where} cannot be read: {why}") from error


def _check_shapes(columns: Mapping[str, NDArray[Any]], where: str) -> None:
    n = len(columns["label_a"]) if columns["label_a"].ndim else 0
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(_FIXED | _FACTS, (n,))
    expected |= dict.fromkeys(_KEYS, (n, KEY_BYTES)) | {f"{name}.offsets": (n + 1,) for name in _STRINGS}
    expected["row_origin.offsets"] = (n + 1,)
    for name, column in columns.items():
        if column.shape != expected.get(name, (column.size,)):
            raise ShardError.damaged(
                f"{where}: column {name!r} has shape {column.shape}, expected {expected.get(name, '1-D')}"
            )


def _text(raw: NDArray[np.uint8], name: str, where: str) -> str:
    if len(raw) > _MAX_TEXT:
        raise ShardError.damaged(f"{where}: {name!r} has {len(raw)} bytes, expected at most {_MAX_TEXT}")
    return raw.tobytes().decode("utf-8", "surrogateescape")


def _build(columns: Mapping[str, NDArray[Any]], where: str) -> SampleTable:
    def strings(name: str) -> StringColumn:
        return StringColumn.from_parts(columns[f"{name}.utf8"], columns[f"{name}.offsets"], name)

    class_names = tuple(strings("class_names").to_array().tolist())
    for name, (low, high) in (_RANGES | {"label_b": (-1, len(class_names) - 1)}).items():
        values = columns.get(name)
        if values is not None and len(values) and not low <= int(values.min()) <= int(values.max()) <= high:
            raise ShardError.damaged(
                f"{where}: {name} runs from {values.min()} to {values.max()}, expected {low} to {high}"
            )
    table: dict[str, Any] = {name: strings(name) for name in _STRINGS}
    table |= {name: columns[name] for name in _FIXED if name != "split"}
    if "split_seed" in columns:
        table["files"] = FileFacts(columns["image_format"], columns["n_bytes"], columns["has_exif"])
        table["split_seed"] = _seed(_text(columns["split_seed"], "split_seed", where), where)
    if "rules" in columns:
        table["rules"] = _rules(_text(columns["rules"], "rules", where), where)
        table["labels"] = _text(columns["labels"], "labels", where)
    if "columns" in columns:
        table |= {name: _text(columns[name], name, where) for name in _NAMED}
    if "splits" in columns:
        table["splits"] = _text(columns["splits"], "splits", where)
    if "row_origin.utf8" in columns:
        table["row_origin"] = strings("row_origin")
    dataset, origin = (_text(columns[name], name, where) for name in _TEXTS)
    return SampleTable(dataset, origin, class_names, split=_splits(columns["split"], where), **table)


def _seed(text: str, where: str) -> int | None:
    if text and not _SEED.fullmatch(text):
        raise ShardError.damaged(f"{where} has the split seed {text!r}, expected a whole number")
    return int(text) if text else None


def _rules(text: str, where: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise ShardError.damaged(f"{where} was read by the rules {text[:80]!r}, expected a number from 1")
    return int(text)


def _splits(stored: NDArray[np.bytes_], where: str) -> NDArray[np.str_]:
    code = np.full(len(stored), len(_SPLITS), np.uint8)
    for number, name in enumerate(_SPLITS):
        code[stored == name.encode()] = number
    if (code == len(_SPLITS)).any():
        raise ShardError.damaged(f"{where} has a split that is none of {_SPLITS!r}")
    return np.array(_SPLITS)[code]
