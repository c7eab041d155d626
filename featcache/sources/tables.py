"""CSV, TSV, JSONL and Parquet files as tables, and narrow tables (one picture a row) as samples."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from featcache.errors import ManifestError
from featcache.manifest import UNKNOWN, Sample
from featcache.sources import (
    FIELDS,
    OnOrphan,
    Parsed,
    Table,
    check_unique,
    find_image,
    load_columns,
    match_columns,
    quoted,
    refuse_rows,
    settle_orphans,
)

__all__ = ["ParquetImage", "parse_table", "read_csv", "read_jsonl", "read_parquet"]


def read_csv(path: Path, *, delimiter: str) -> Table:
    """Open a UTF-8 file of delimited cells, quoted with ``"`` where needed; empty lines do not count.

    Raises
    ------
    ManifestError
        The file is empty; `Table.load` raises for invalid UTF-8, broken quotes and rows of another length.
    """
    header = next(_csv_rows(path, delimiter), None)
    if header is None:
        raise ManifestError(f"{path.name} is empty, expected a header and rows")

    def load(positions: Sequence[int]) -> list[list[object]]:
        columns: list[list[object]] = [[] for _ in positions]
        rows = _csv_rows(path, delimiter)
        next(rows)
        for number, cells in enumerate(rows, start=1):
            if len(cells) != len(header):
                raise ManifestError(
                    f"{path.name}, row {number} has {len(cells)} cells, expected {len(header)} as in the "
                    f"header: quote cells that contain {delimiter!r}"
                )
            for column, position in zip(columns, positions, strict=True):
                column.append(cells[position])
        return columns

    return Table(path.name, tuple(header), load, str(path.parent))


def _csv_rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Give the cells of each line that is not empty, the header's first."""
    rows = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    count = 0
    try:
        for cells in rows:
            if cells:
                yield cells
                count += 1
    except csv.Error as error:
        place = f"row {count}" if count else "the header"
        raise ManifestError(
            f"{path.name}, {place} is not well-formed ({error}): check the quotes near line {rows.line_num}"
        ) from error


def _lines(path: Path) -> Iterator[str]:
    """Decode a file line by line, line ends kept."""
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise ManifestError(
                        f"{path.name} is not UTF-8: found {line[error.start : error.start + 1]!r} at byte "
                        f"{start + error.start} (line {number})"
                    ) from error
                start += len(line)
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: {error}") from error


def read_jsonl(path: Path) -> Table:
    """Read a file with one JSON object a line; empty lines do not count, keys may differ from line to line.

    Raises
    ------
    ManifestError
        A line is no JSON object or no UTF-8.
    """
    rows: list[dict[str, object]] = []
    header: dict[str, None] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path.name}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ManifestError(f"{path.name}, line {number}: expected an object, found {quoted(row)}")
        rows.append(row)
        header.update(dict.fromkeys(row))
    if not rows:
        raise ManifestError(f"{path.name} has no rows, expected at least one")
    names = tuple(header)

    def load(positions: Sequence[int]) -> list[list[object]]:
        return [[row.get(names[position]) for row in rows] for position in positions]

    return Table(path.name, names, load, str(path.parent))


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """A picture inside a Parquet file, read with its row group when it is needed.

    The row group of the latest picture stays in memory, so reading in file order reads each one once.

    Attributes
    ----------
    path : str
        The Parquet file.
    column : str
        A binary column, or a struct with a binary field "bytes".
    row_group, offset : int
        Place in the file.
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
    is_held = "bytes" in fields or pa.types.is_binary(found) or pa.types.is_large_binary(found)
    if not is_held and "path" not in fields:
        if pa.types.is_nested(found):
            raise ManifestError(f"{path.name}, column {quoted(column)}: expected plain cells, found {found}")
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


def parse_table(table: Table, *, on_orphan: OnOrphan) -> Parsed:
    """Turn a narrow table into samples, one a row.

    Without a sample_id column the image paths serve as ids if every row has one and no two are equal, else
    the row numbers ("row-12").

    Raises
    ------
    ManifestError
        The table breaks a rule; the message names file, row and column of the first offender and the count.
    """
    found = match_columns(table)
    if "image" not in found and "caption" not in found:
        raise ManifestError(
            f"{table.origin} names neither images nor captions, expected a column "
            f"{'|'.join(FIELDS['image'])} or {'|'.join(FIELDS['caption'])}, found {_listed(table.header)}"
        )
    if "generator" in found and "label_b" not in found:
        found["label_b"] = found.pop("generator")
    fields = dict(zip(found, load_columns(table, found.items()), strict=True))
    unset = [None] * len(next(iter(fields.values())))
    images, captions = fields.get("image", unset), fields.get("caption", unset)
    empty = [row for row, pair in enumerate(zip(images, captions, strict=True)) if pair == (None, None)]
    refuse_rows(table, empty, lambda _: "expected an image, a caption or both, found neither")
    ids = fields.get("sample_id") or _ids_of(images)
    labels, generators = _join_labels(table, found, fields)
    samples, orphans = [], []
    rest = zip(fields.get("split", unset), fields.get("group", unset), strict=True)
    for row, (split, group) in enumerate(rest):
        where, image = table.where(row), images[row]
        if isinstance(image, str):
            image = find_image(image, table.folder)
        if isinstance(image, str):
            orphans.append(f"{where}, column {quoted(table.header[found['image']])}: {image}")
        else:
            samples.append(Sample(ids[row], image, captions[row], *labels[row], split, group, where))
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    return Parsed(tuple(samples), generators, tuple(orphans))


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - 10} more" if len(header) > 10 else ""
    return ", ".join(quoted(column) for column in header[:10]) + more or "none"


def _ids_of(images: Sequence[object]) -> list[str]:
    paths = [image for image in images if isinstance(image, str)]
    if len(paths) == len(images) == len(set(paths)):
        return paths
    return [f"row-{row + 1}" for row in range(len(images))]


def _join_labels(
    table: Table, found: Mapping[str, int], fields: Mapping[str, list[Any]]
) -> tuple[list[tuple[int, str | None]], tuple[str, ...]]:
    """Complete both labels from each other; refuse contradictions."""
    unset = [None] * len(next(iter(fields.values())))
    known_a = fields.get("label_a") or [UNKNOWN] * len(unset)
    names, generators = _name_classes(table, fields.get("label_b", unset), fields.get("generator", unset))
    labels, clashes = [], []
    for row, (label_a, label_b) in enumerate(zip(known_a, names, strict=True)):
        if label_a == UNKNOWN and label_b is not None:
            label_a = int(label_b != "real")
        elif label_a == 0 and label_b is None:
            label_b = "real"
        if label_b is not None and label_a != int(label_b != "real"):
            clashes.append(row)
        labels.append((label_a, label_b))
    refuse_rows(
        table,
        clashes,
        lambda row: (
            f"columns {quoted(table.header[found['label_a']])} and {quoted(table.header[found['label_b']])}: "
            f"label_a {known_a[row]} contradicts the class {quoted(names[row])}"
        ),
    )
    return labels, generators


def _name_classes(
    table: Table, raw: Sequence[int | str | None], names: Sequence[str | None]
) -> tuple[list[str | None], tuple[str, ...]]:
    """Give each row its class name, and the order of the classes."""
    numbers = {label for label in raw if isinstance(label, int) and label}
    if numbers:
        mixed = [row for row, label in enumerate(raw) if isinstance(label, str)]
        refuse_rows(table, mixed, lambda row: f"label_b: found the name {quoted(raw[row])} among numbers")
    name_of = _pair_names(table, raw, names) | {0: "real"}
    labels = [
        name if label is None else name_of[label] if isinstance(label, int) else label
        for label, name in zip(raw, names, strict=True)
    ]
    ordered = [name_of[number] for number in sorted(numbers)] or list(table.declared)
    ordered += sorted({label for label in labels if label is not None} - {"real", *ordered})
    return labels, tuple(ordered)


def _pair_names(table: Table, raw: Sequence[int | str | None], names: Sequence[str | None]) -> dict[int, str]:
    """Find the name of each number in label_b, one-to-one; a number without a name names itself."""
    name_of: dict[int, str] = {}
    number_of: dict[str, int] = {"real": 0}
    clashes = []
    for row, (number, name) in enumerate(zip(raw, names, strict=True)):
        if not isinstance(number, int):
            continue
        if name is not None and (
            name_of.setdefault(number, name) != name or number_of.setdefault(name, number) != number
        ):
            clashes.append(row)
    refuse_rows(
        table,
        clashes,
        lambda row: (
            f"expected one generator for each label_b, found {quoted(names[row])} for {raw[row]}, which "
            "another row pairs differently"
        ),
    )
    for number in sorted({label for label in raw if isinstance(label, int)} - name_of.keys()):
        name_of[number] = str(number)
        if number_of.setdefault(str(number), number) != number:
            raise ManifestError(f"{table.origin}: label_b {number} has no generator, and {number} names another")
    return name_of
