"""Several Parquet files as one table, as Hugging Face reads them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.parquet import is_bytes, read_parquet
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.table_set import KEYED, TablePart, join_tables
from featcache.errors import ManifestError
from featcache.files.picture_formats import ENDINGS

__all__ = ["read_parquet_set"]

_PICTURES = frozenset(ending.removeprefix(".") for ending in ENDINGS)
"""Columns of pictures of img2dataset are named by their format."""


def read_parquet_set(paths: Sequence[Path], folder: Path, *, reading: Reading) -> tuple[Table, tuple[str, ...]]:
    """Join Parquet files to one table, as `join_tables` does.

    Where no column is a picture by its name, bytes in a column called like a format (``jpg``, ``png``, ``webp``) are.
    So img2dataset writes them; of its tables, rows whose picture could not be downloaded are left out, as it leaves
    them out of tars and folders (before rules 3: captions alone), and its key is the sample's id.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    folder : Path
        All of them are in it or below it.
    reading : Reading
        As `Table.reading`.

    Returns
    -------
    table : Table
        Of all of them.
    notes : tuple of str
        What the user should know.

    Raises
    ------
    ManifestError
        A file is not Parquet; `Table.load` raises for columns of other types.
    """
    parts = [TablePart(read_parquet(path), path.relative_to(folder).as_posix(), *_look(path)) for path in paths]
    n_rows = sum(part.n_rows for part in parts)
    if reading.rules > 2:
        parts = list(map(_downloaded, parts))
    n_left = n_rows - sum(part.n_rows for part in parts)
    what = "row whose status is not success has" if n_left == 1 else "rows whose status is not success have"
    notes = (f"{n_left:,} {what} no picture: left out",) if n_left else ()
    return join_tables(parts, str(folder), reading), notes


def _downloaded(part: TablePart) -> TablePart:
    """Leave out the rows of img2dataset's table whose picture could not be downloaded."""
    table = part.table
    if not part.pictures or not set(table.header) >= KEYED:
        return part
    (statuses,) = table.load([table.header.index("status")])
    rows = [row for row, status in enumerate(statuses) if status == "success"]

    def load(positions: Sequence[int]) -> list[list[object]]:
        return [[column[row] for row in rows] for column in table.load(positions)]

    return (
        part
        if len(rows) == part.n_rows
        else replace(part, table=replace(table, load=load), n_rows=len(rows), rows=rows)
    )


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
