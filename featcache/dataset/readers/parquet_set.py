"""Several Parquet files as one table, as Hugging Face reads them."""

from collections.abc import Sequence
from pathlib import Path

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.parquet import is_bytes, read_parquet
from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.table_set import TablePart, join_tables
from featcache.errors import ManifestError
from featcache.files.picture_formats import ENDINGS

__all__ = ["read_parquet_set"]

_PICTURES = frozenset(ending.removeprefix(".") for ending in ENDINGS)
"""Columns of pictures of img2dataset are named by their format."""


def read_parquet_set(paths: Sequence[Path], folder: Path, *, reading: Reading) -> Table:
    """Join Parquet files to one table, as `join_tables` does.

    Where no column is a picture by its name, bytes in a column called like a format (``jpg``, ``png``, ``webp``) are.

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
    parts = [TablePart(read_parquet(path), path.relative_to(folder).as_posix(), *_look(path)) for path in paths]
    return join_tables(parts, str(folder), reading)


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
