"""Tables of answers as CSV, JSONL or Parquet, written block by block: a million rows are never in memory at once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from heads.errors import HeadsError

__all__ = ["TABLE_ENDINGS", "Block", "Schema", "check_table_ending", "table_writer"]

Schema = Mapping[str, Literal["text", "number"]]
"""Names of the columns, in their order, and what is in them."""
Block = Mapping[str, Sequence[Any]]
"""Some rows, by column; None where a row has no value."""
Write = Callable[[Block], None]


def check_table_ending(out: Path, *others: str) -> None:
    """Raise if no table can be written to ``out``.

    Parameters
    ----------
    out : Path
    others : str
        What else could be asked for, for the message.
    """
    form = _FORMATS.get(out.suffix.lower())
    if form is None:
        known = ", ".join((*_FORMATS, *others))
        raise HeadsError(f"{out} ends in {out.suffix!r}, expected one of {known}")
    if form is _parquet:
        _import_pyarrow()


def table_writer(out: Path, file: BinaryIO, schema: Schema) -> AbstractContextManager[Write]:
    """Open a table of the format that the ending of ``out`` says, for what writes blocks of rows to ``file``.

    Text is written as it is: a spreadsheet may take a name that starts with ``=`` for a formula.
    """
    check_table_ending(out)
    return _FORMATS[out.suffix.lower()](file, schema)


@contextmanager
def _csv(file: BinaryIO, schema: Schema) -> Iterator[Write]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(schema)
        yield lambda block: writer.writerows(_rows(block, schema))
    finally:
        text.detach()  # flushes; the file is whoever's opened it


@contextmanager
def _jsonl(file: BinaryIO, schema: Schema) -> Iterator[Write]:
    def write(block: Block) -> None:
        for row in _rows(block, schema):
            file.write((json.dumps(dict(zip(schema, row, strict=True)), ensure_ascii=False) + "\n").encode())

    yield write


@contextmanager
def _parquet(file: BinaryIO, schema: Schema) -> Iterator[Write]:
    pyarrow, parquet = _import_pyarrow()
    kinds = {"text": pyarrow.string(), "number": pyarrow.float64()}
    types = pyarrow.schema([(name, kinds[kind]) for name, kind in schema.items()])
    with parquet.ParquetWriter(file, types) as writer:
        yield lambda block: writer.write_table(pyarrow.table({name: block[name] for name in schema}, schema=types))


def _rows(block: Block, schema: Schema) -> Iterator[tuple[Any, ...]]:
    return zip(*(block[name] for name in schema), strict=True)


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise HeadsError(
            "writing Parquet needs pyarrow: pip install 'featcache[parquet]', or write .csv or .jsonl"
        ) from error
    return pyarrow, pyarrow.parquet


_FORMATS: Mapping[str, Callable[[BinaryIO, Schema], AbstractContextManager[Write]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
TABLE_ENDINGS = tuple(_FORMATS)
"""Of the files that tables are written to."""
