"""CSV, TSV, JSON and JSONL files as tables."""

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from featcache.dataset.readers.cells import parse_object, parse_objects, quoted
from featcache.dataset.readers.table import Table
from featcache.errors import ManifestError

__all__ = ["read_csv", "read_json", "read_jsonl"]

_LINE_LIMIT = 2**24
_ARRAY_LIMIT = 2**29
_AS_UTF8 = ": save it as UTF-8 (in Excel: CSV UTF-8)"


def read_csv(path: Path, *, delimiter: str) -> Table:
    """Open a UTF-8 file of delimited cells, quoted with ``"`` where needed; empty lines do not count.

    Parameters
    ----------
    path : Path
        The file.
    delimiter : str
        What stands between cells. Where the header has none of it, the first of ``;``, tab and comma that it has.

    Raises
    ------
    ManifestError
        The file is empty; `Table.load` raises for invalid UTF-8, broken quotes, rows of another length and rows
        longer than 16 MiB.
    """
    delimiter = _find_delimiter(path, delimiter)
    first = next(_csv_rows(path, delimiter), None)
    if first is None:
        raise ManifestError(f"{path.name} is empty, expected a header and rows")
    _, header = first
    lines = array("Q")

    def load(positions: Sequence[int]) -> list[list[object]]:
        columns: list[list[object]] = [[] for _ in positions]
        rows = _csv_rows(path, delimiter)
        next(rows)
        del lines[:]
        for line, cells in rows:
            if len(cells) != len(header):
                raise ManifestError(
                    f"{path.name}, line {line} has {len(cells)} cells, expected {len(header)} as in the "
                    f"header: quote cells that contain {delimiter!r}"
                )
            lines.append(line)
            for column, position in zip(columns, positions, strict=True):
                column.append(cells[position])
        return columns

    return Table(path.name, tuple(header), load, str(path.parent), row_name=lambda row: f"line {lines[row]}")


def _find_delimiter(path: Path, expected: str) -> str:
    """Return what stands between the cells of a header: spreadsheets of many countries write ``;`` into a CSV file."""
    first = next((line for line in _lines(path) if line.strip()), "")
    unquoted = re.sub('"[^"]*"', "", first)
    return next((sign for sign in (expected, ";", "\t", ",") if sign in unquoted), expected)


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Give the cells of each row that is not empty, the header's first, and the line that it begins in, from 1."""
    n_read, first_line, has_header = 0, 1, False

    def bounded() -> Iterator[str]:
        nonlocal n_read
        for line in _lines(path):
            n_read += len(line)
            if n_read > _LINE_LIMIT:
                raise csv.Error(f"a row longer than {_LINE_LIMIT} characters that begins there")
            yield line

    rows = csv.reader(bounded(), delimiter=delimiter, strict=True)
    try:
        for cells in rows:
            if cells:
                yield first_line, cells
                has_header = True
            n_read, first_line = 0, rows.line_num + 1
    except csv.Error as error:
        place = f"line {first_line}" if has_header else "the header"
        hint = "; pictures belong into files or Parquet, not into cells" if "limit" in str(error) else ""
        raise ManifestError(
            f"{path.name}, {place} is not well-formed ({error}): check the quotes near line {rows.line_num}{hint}"
        ) from error


def _lines(path: Path) -> Iterator[str]:
    """Decode a file line by line, line ends kept."""
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LINE_LIMIT + 1), b""), start=1):
                if len(line) > _LINE_LIMIT:
                    raise ManifestError(f"{path.name}, line {number} is longer than {_LINE_LIMIT} bytes")
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise ManifestError(
                        f"{path.name} is not UTF-8: found {line[error.start : error.start + 1]!r} at byte "
                        f"{start + error.start} (line {number}){_AS_UTF8}"
                    ) from error
                start += len(line)
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: {error}") from error


def read_jsonl(path: Path) -> Table:
    """Read a file with one JSON object a line; empty lines do not count, keys may differ from line to line.

    Raises
    ------
    ManifestError
        A line is no JSON object, has a key twice, is longer than 16 MiB, or no UTF-8.
    """
    rows: list[dict[str, object]] = []
    lines = array("Q")
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = parse_object(line)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path.name}, line {number} is not JSON: {error}") from error
        rows.append(row)
        lines.append(number)
    return replace(_of_objects(path, rows), row_name=lambda row: f"line {lines[row]}")


def read_json(path: Path) -> Table:
    """Read a file with a JSON array of objects, whose keys may differ; one with an object a line is read as JSONL.

    Raises
    ------
    ManifestError
        It holds something else, an object with a key twice, more than 512 MiB, or no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_ARRAY_LIMIT + 1)
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: {error}") from error
    if len(data) > _ARRAY_LIMIT:
        raise ManifestError(f"{path.name} has more than {_ARRAY_LIMIT} bytes: write one object a line (.jsonl)")
    try:
        text = data.decode("utf-8-sig")
        if text[:100].lstrip().startswith("{"):
            return _read_objects(path, text)
        return _of_objects(path, list(parse_objects(text)))
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path.name} is not UTF-8: found {data[error.start : error.start + 1]!r}{_AS_UTF8}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path.name} is no JSON array of objects: {error}") from error


def _read_objects(path: Path, text: str) -> Table:
    """Read what begins with an object: one a line, or the only one."""
    try:
        only = parse_object(text)
    except (ValueError, RecursionError):
        return read_jsonl(path)
    if any(isinstance(value, dict | list) for value in only.values()):
        keys = ", ".join(map(quoted, list(only)[:5]))
        raise ValueError(f"found one object with the keys {keys}; if one of them holds the list, write that alone")
    return _of_objects(path, [only])


def _of_objects(path: Path, rows: list[dict[str, object]]) -> Table:
    if not rows:
        raise ManifestError(f"{path.name} has no rows, expected at least one")
    names = tuple(dict.fromkeys(name for row in rows for name in row))

    def load(positions: Sequence[int]) -> list[list[object]]:
        return [[row.get(names[position]) for row in rows] for position in positions]

    return Table(path.name, names, load, str(path.parent))
