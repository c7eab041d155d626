"""Parquet files as tables; the pictures inside them are read when they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.table import Table
from featcache.errors import ManifestError

__all__ = ["ParquetImage", "is_bytes", "read_parquet"]


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """A picture inside a Parquet file, read with its row group when it is needed.

    The row group of the latest picture stays in memory, so reading in file order reads each one once.

    Attributes
    ----------
    path : str
        Path of the Parquet file.
    column : str
        A binary column, or a struct with a binary field "bytes".
    row_group, offset : int
        Where in the file the picture is: row group, and row in it.
    row : int
        Row of the file, from 1, for messages.
    """

    path: str
    column: str
    row_group: int
    offset: int
    row: int

    @property
    def name(self) -> str:
        """Give file and row."""
        return f"{self.path} row {self.row}"

    def read_bytes(self) -> bytes:
        """Read the encoded picture.

        Raises
        ------
        OSError
            The Parquet file cannot be read any more.
        """
        import pyarrow as pa

        try:
            value = _read_column(self.path, self.column, self.row_group)[self.offset].as_py()
        except (pa.ArrowException, IndexError) as error:
            raise OSError(f"{self.name}: {error}") from error
        return bytes(value)


@lru_cache(maxsize=1)
def _read_column(path: str, column: str, row_group: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        cells = file.read_row_group(row_group, columns=[column]).column(0)
    return _part(cells, "bytes")


def _part(cells: Any, field: str) -> Any:
    """Give the binary column itself, or a field of a column of structs (null where the struct is)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.struct_field(cells, field) if pa.types.is_struct(cells.type) else cells


def is_bytes(kind: Any) -> bool:
    """Say whether cells of an arrow type hold bytes, and so can be pictures."""
    import pyarrow as pa

    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _is_list_of_text(kind: Any) -> bool:
    import pyarrow as pa

    lists, texts = (
        [getattr(pa.types, f"is_{name}") for name in names]
        for names in (("list", "large_list", "list_view", "large_list_view"), ("string", "large_string", "string_view"))
    )
    return any(test(kind) for test in lists) and any(test(kind.value_type) for test in texts)


def read_parquet(path: Path) -> Table:
    """Open a Parquet file; pictures may be paths, binary cells, or structs of bytes and path.

    Raises
    ------
    ManifestError
        `pyarrow` is missing, or the file is not Parquet; `Table.load` raises for columns of other types.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ManifestError(f"{path.name}: reading it needs pip install 'featcache[parquet]'") from error

    try:
        header = tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{path.name} cannot be read as Parquet: {quoted(str(error))}") from error

    def load(positions: Sequence[int]) -> list[list[object]]:
        columns: list[list[object]] = [[] for _ in positions]
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    for column, position in zip(columns, positions, strict=True):
                        column += _parquet_cells(file, path, header[position], group, len(column))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"{path.name} cannot be read as Parquet: {quoted(str(error))}") from error
        return columns

    return Table(path.name, header, load, str(path.parent))


def _parquet_cells(file: Any, path: Path, column: str, group: int, done: int) -> list[object]:
    """Load one column of a row group; binary cells become references, `done` rows come before it."""
    import pyarrow as pa

    found = file.schema_arrow.field(column).type
    fields = {part.name for part in found} if pa.types.is_struct(found) else set()
    is_held = "bytes" in fields or is_bytes(found)
    if not is_held and "path" not in fields:
        if pa.types.is_nested(found) and not _is_list_of_text(found):
            place = f"{path.name}, column {quoted(column)}"
            raise ManifestError(f"{place}: expected plain cells or lists of text, found {found}")
        return list(file.read_row_group(group, columns=[column]).column(0).to_pylist())
    cells: list[object] = []
    for batch in file.iter_batches(batch_size=256, row_groups=[group], columns=[column]):
        unset = [None] * len(batch)
        held = _part(batch.column(0), "bytes").is_valid().to_pylist() if is_held else unset
        paths = _part(batch.column(0), "path").to_pylist() if "path" in fields else unset
        for has_bytes, named in zip(held, paths, strict=True):
            offset = len(cells)
            reference = ParquetImage(str(path), column, group, offset, done + offset + 1)
            cells.append(reference if has_bytes else named)
    return cells
