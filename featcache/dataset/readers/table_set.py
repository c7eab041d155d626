"""Several tables as one: columns by name, paths relative to each one's folder, splits by names of files and folders."""

import bisect
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from featcache.dataset.readers.columns import match_columns
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.table import Table, more_rows
from featcache.dataset.readers.words import SPLIT_NAMES

__all__ = ["KEYED", "TablePart", "join_tables"]

KEYED = frozenset(("key", "url", "status"))
"""Columns by which img2dataset's tables are told: the key is what its tars and files are called by."""


@dataclass(frozen=True)
class TablePart:
    """One of several tables.

    Attributes
    ----------
    table : Table
        Itself.
    name : str
        Path of its file below the folder that all are in, with ``/`` between its parts.
    n_rows : int
        How many rows it has.
    pictures : collection of str
        Columns that hold pictures, if no column does so by its name.
    rows : sequence of int, optional
        Which rows of its file they are, from 0; None: all of them.
    """

    table: Table
    name: str
    n_rows: int
    pictures: Collection[str] = ()
    rows: Sequence[int] | None = None


@dataclass(frozen=True)
class _Parts:
    """The tables, and where each one's rows begin."""

    parts: tuple[TablePart, ...]
    starts: tuple[int, ...]

    def find(self, row: int) -> tuple[int, int]:
        """Give the file of a row, and which of its rows that is."""
        part = bisect.bisect_right(self.starts, row) - 1
        rows, number = self.parts[part].rows, row - self.starts[part]
        return part, number if rows is None else rows[number]

    def where(self, row: int) -> str:
        part, number = self.find(row)
        return f"{self.parts[part].name}, {self.parts[part].table.row_name(number)}"

    def default_id(self, row: int) -> str:
        part, number = self.find(row)
        return f"{os.path.splitext(self.parts[part].name)[0]}/row-{number + 1}"  # noqa: PTH122


def join_tables(parts: Sequence[TablePart], folder: str, reading: Reading) -> Table:
    """Join tables to one in the order given; a column that one lacks is empty there.

    Paths of pictures are relative to the folder of their table. Without a split column a table gives the split that is
    a word of its file's name (``train-00000-of-00002``), or else the name of a folder that it is in, below `folder`.
    Where that is train for all of them, as for data that nobody divided, it is no split. The id of a row without
    another is FILE/row-N.

    Parameters
    ----------
    parts : sequence of TablePart
        At least one.
    folder : str
        All of them are in it or below it.
    reading : Reading
        As `Table.reading`.
    """
    joined = _Parts(tuple(parts), tuple(accumulate((part.n_rows for part in parts), initial=0)))
    header = tuple(dict.fromkeys(name for part in parts for name in part.table.header))
    title = f"{parts[0].name}{more_rows(len(parts), 'file')}"
    table = Table(title, header, lambda _: [], folder, joined.where, reading=reading, default_id=joined.default_id)
    found = match_columns(table)
    held = next((name for name in header if any(name in part.pictures for part in parts)), None)
    named = [reading.columns] if reading.columns else []
    if held is not None and "image" not in found:
        named.append(f"image={held}")
    if held is not None and "sample_id" not in found and reading.rules > 2 and set(header) >= KEYED:
        named.append("sample_id=key")
    table = replace(table, reading=replace(reading, columns=",".join(named)))
    image = match_columns(table).get("image")
    splits = [_split_of(part.name, reading) for part in parts]
    if "split" in found or set(splits) <= {"train"} or not any(splits):
        return replace(table, load=_loader(header, joined, image, []))
    return replace(table, header=(*header, "split"), load=_loader(header, joined, image, splits))


def _loader(
    header: Sequence[str], parts: _Parts, image: int | None, splits: Sequence[str | None]
) -> Callable[[Sequence[int]], list[list[object]]]:
    """Return what loads columns of all files; the one behind the header is that of the splits."""

    def load(positions: Sequence[int]) -> list[list[object]]:
        columns: list[list[object]] = [[] for _ in positions]
        for number, part in enumerate(parts.parts):
            there = [p for p in positions if p < len(header) and header[p] in part.table.header]
            loaded = dict(zip(there, part.table.load([part.table.header.index(header[p]) for p in there]), strict=True))
            folder = os.path.dirname(part.name)  # noqa: PTH120
            for column, position in zip(columns, positions, strict=True):
                if position == image and folder:
                    column += [_join(folder, cell) for cell in loaded.get(position) or [None] * part.n_rows]
                elif position < len(header):
                    column += loaded.get(position) or [None] * part.n_rows
                else:
                    column += [splits[number]] * part.n_rows
        return columns

    return load


def _join(folder: str, cell: object) -> object:
    return f"{folder}/{cell}" if isinstance(cell, str) and cell.strip() and not cell.startswith("/") else cell


def _split_of(name: str, reading: Reading) -> str | None:
    """Return the split that a file is named after, or else the nearest of its folders."""
    *folders, file = os.path.splitext(name.lower())[0].split("/")  # noqa: PTH122
    words = {SPLIT_NAMES[word] for word in re.split(r"[-._ 0-9]+", file) if word in SPLIT_NAMES}
    if words:
        return words.pop() if len(words) == 1 else None
    return next(filter(None, map(reading.split_of, reversed(folders))), None)
