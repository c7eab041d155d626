"""Several Parquet files as one table, as Hugging Face reads them."""

import bisect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.columns import match_columns
from featcache.dataset.readers.parquet import is_bytes, read_parquet
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.table import Table, more_rows
from featcache.dataset.readers.words import SPLIT_NAMES
from featcache.errors import ManifestError

__all__ = ["read_parquet_set"]

_PICTURES = ("jpg", "jpeg", "png", "webp")
"""Columns of pictures of img2dataset, by its formats."""


@dataclass(frozen=True)
class _Parts:
    """The files, their names below the folder that all are in, and where each one's rows begin."""

    tables: tuple[Table, ...]
    names: tuple[str, ...]
    starts: tuple[int, ...]

    def find(self, row: int) -> tuple[int, int]:
        """Give the file of a row, and which of its rows that is."""
        part = bisect.bisect_right(self.starts, row) - 1
        return part, row - self.starts[part]

    def where(self, row: int) -> str:
        part, number = self.find(row)
        return f"{self.names[part]}, row {number + 1}"

    def default_id(self, row: int) -> str:
        part, number = self.find(row)
        return f"{os.path.splitext(self.names[part])[0]}/row-{number + 1}"  # noqa: PTH122

    def n_rows(self, part: int) -> int:
        return self.starts[part + 1] - self.starts[part]


def read_parquet_set(paths: Sequence[Path], folder: Path, *, reading: Reading) -> Table:
    """Join Parquet files to one table in the order given; a column that one lacks is empty there.

    Paths of pictures are relative to the folder of their file. Without a split column a file gives the split that is
    a word of its name (``train-00000-of-00002``), or else the name of a folder that it is in, below `folder`. Where
    that is train for all of them, as for data that nobody divided, it is no split. The id of a row without another is
    FILE/row-N. Where no column is a picture by its name, bytes in a column ``jpg``, ``jpeg``, ``png`` or ``webp`` are.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    folder : Path
        All of them are in it or below it.
    reading : Reading
        As `Table.reading`.

    Raises
    ------
    ManifestError
        A file is not Parquet; `Table.load` raises for columns of other types.
    """
    tables = tuple(map(read_parquet, paths))
    counts, pictures = zip(*map(_look, paths), strict=True)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    parts = _Parts(tables, names, tuple(accumulate(counts, initial=0)))
    header = tuple(dict.fromkeys(name for table in tables for name in table.header))
    title = f"{names[0]}{more_rows(len(names), 'file')}"
    table = Table(title, header, lambda _: [], str(folder), parts.where, reading=reading, default_id=parts.default_id)
    found = match_columns(table)
    held = next((name for name in header if any(name in part for part in pictures)), None)
    if held is not None and "image" not in found:
        table = replace(
            table, reading=replace(reading, columns=",".join(filter(None, (reading.columns, f"image={held}"))))
        )
    image = match_columns(table).get("image")
    splits = [_split_of(name) for name in names]
    if "split" in found or set(splits) <= {"train"} or not any(splits):
        return replace(table, load=_loader(header, parts, image, []))
    return replace(table, header=(*header, "split"), load=_loader(header, parts, image, splits))


def _loader(
    header: Sequence[str], parts: _Parts, image: int | None, splits: Sequence[str | None]
) -> Callable[[Sequence[int]], list[list[object]]]:
    """Return what loads columns of all files; the one behind the header is that of the splits."""

    def load(positions: Sequence[int]) -> list[list[object]]:
        columns: list[list[object]] = [[] for _ in positions]
        for number, part in enumerate(parts.tables):
            n_rows = parts.n_rows(number)
            there = [p for p in positions if p < len(header) and header[p] in part.header]
            loaded = dict(zip(there, part.load([part.header.index(header[p]) for p in there]), strict=True))
            folder = os.path.dirname(parts.names[number])  # noqa: PTH120
            for column, position in zip(columns, positions, strict=True):
                if position == image and folder:
                    column += [_join(folder, cell) for cell in loaded.get(position) or [None] * n_rows]
                elif position < len(header):
                    column += loaded.get(position) or [None] * n_rows
                else:
                    column += [splits[number]] * n_rows
        return columns

    return load


def _join(folder: str, cell: object) -> object:
    return f"{folder}/{cell}" if isinstance(cell, str) and cell.strip() and not cell.startswith("/") else cell


def _look(path: Path) -> tuple[int, frozenset[str]]:
    """Return how many rows a file has, and which of its columns hold img2dataset's pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            held = frozenset(part.name for part in file.schema_arrow if part.name in _PICTURES and is_bytes(part.type))
            return int(file.metadata.num_rows), held
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{path.name} cannot be read as Parquet: {quoted(str(error))}") from error


def _split_of(name: str) -> str | None:
    """Return the split that a file is named after, or else the nearest of its folders."""
    *folders, file = name.lower().removesuffix(".parquet").split("/")
    words = {SPLIT_NAMES[word] for word in re.split(r"[-._ 0-9]+", file) if word in SPLIT_NAMES}
    if words:
        return words.pop() if len(words) == 1 else None
    return next((SPLIT_NAMES[folder] for folder in reversed(folders) if folder in SPLIT_NAMES), None)
