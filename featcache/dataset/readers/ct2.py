"""The CT2 competition's wide layout: one caption and six pictures a row; and .xlsx files as tables."""

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.columns import describe_unread, load_origins, match_columns
from featcache.dataset.readers.labels import label_classes
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.readers.outcome import (
    MissingWords,
    OnOrphan,
    Parsed,
    check_unique,
    find_image,
    settle_orphans,
)
from featcache.dataset.readers.rebase import rebase
from featcache.dataset.readers.table import Table, load_columns, refuse_rows
from featcache.dataset.sample import Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import ManifestError

__all__ = ["CT2_GENERATORS", "match_wide", "parse_wide", "read_xlsx"]

CT2_GENERATORS = ("sd21", "sdxl", "sd3", "dalle3", "midjourney")

_ALIASES: Mapping[str, str] = (
    dict.fromkeys(("real", "coco"), "real")
    | dict.fromkeys(("sd21", "stablediffusion21"), "sd21")
    | dict.fromkeys(("sdxl", "stablediffusionxl"), "sdxl")
    | dict.fromkeys(("sd3", "stablediffusion3"), "sd3")
    | dict.fromkeys(("dalle", "dalle3"), "dalle3")
    | dict.fromkeys(("midjourney", "midjourneyv6", "mj6", "mj"), "midjourney")
)
_UNPACKED_LIMIT = 2**30
_KEPT: tuple[str, ...] = ("caption", "sample_id", "split", "group")


def match_wide(table: Table) -> dict[str, int] | None:
    """Find one column of pictures for each class, by name and never by position.

    Case, blanks, underscores, hyphens and dots do not count, nor does a leading or trailing image, img or
    path: "coco_image" is real, "SD 2.1" sd21, "DALL-E 3 image" dalle3. The layout is the wide one if the
    table has a caption, real pictures and at least two generators, and no plain image column.

    Returns
    -------
    dict of str to int, or None
        Position in the header by class name; None: the table is not wide.

    Raises
    ------
    ManifestError
        Two columns of a wide table stand for one class.
    """
    found: dict[str, list[int]] = {}
    for position, column in enumerate(table.header):
        plain = re.sub(r"[\s\ufeff_.-]+", "", column[:100].lower())
        name = _ALIASES.get(re.sub(r"^(image|img|path)+|(image|img|path)+$", "", plain))
        if name is not None:
            found.setdefault(name, []).append(position)
    if "real" not in found or len(found) < 3:
        return None
    fields = match_columns(table)
    if "image" in fields or "caption" not in fields:
        return None
    for name, positions in found.items():
        if len(positions) > 1:
            columns = " and ".join(quoted(table.header[position]) for position in positions[:2])
            raise ManifestError(f"{table.origin}: columns {columns} both mean the class {name}, expected one")
    return {name: positions[0] for name, positions in found.items()}


def parse_wide(table: Table, wide: Mapping[str, int], *, on_orphan: OnOrphan) -> Parsed:
    """Turn each cell that names a picture into a sample.

    The sample's id is "ROW-CLASS", where ROW is the row's sample_id, or its number (from 1) without such a
    column; ROW is also the group unless the table has a group column.

    Parameters
    ----------
    table : Table
        The table with one column a generator.
    wide : mapping of str to int
        Positions of the columns, as `match_wide` found them.
    on_orphan : {"error", "skip"}
        What to do about a named file that is not there.

    Raises
    ------
    ManifestError
        A cell breaks the rule of its field, or a row has no picture at all.
    """
    matched = match_columns(table)
    found = {field: matched[field] for field in _KEPT if field in matched}
    if "split" not in found:
        table.reading.check_splits(table.origin, ())
    wanted = [*found.items(), *(("image", position) for position in wide.values())]
    loaded = load_columns(table, wanted)
    fields = dict(zip(found, loaded, strict=False))
    pictures = dict(zip(wide, loaded[len(found) :], strict=True))
    missing = MissingWords(table.reading)
    captions = [missing.drop(caption) for caption in fields["caption"]]
    labels = label_classes(table, wide)
    n_rows = len(captions)
    empty = [row for row in range(n_rows) if all(cells[row] is None for cells in pictures.values())]
    refuse_rows(table, empty, lambda _: f"expected a picture in one of {', '.join(wide)}, found none")
    row_ids = fields.get("sample_id") or [str(row + 1) for row in range(n_rows)]
    origins, odd = load_origins(table, matched)
    groups, splits = fields.get("group", row_ids), fields.get("split", [None] * n_rows)
    folder, below = rebase(table, (cell for cells in pictures.values() for cell in cells))
    orphans = []

    def cells_of_pictures() -> Iterator[Sample]:
        for row in range(n_rows):
            where = table.where(row)
            for name, cells in pictures.items():
                image = cells[row]
                if isinstance(image, str):
                    image = find_image(below(image), folder)
                if isinstance(image, Gap):
                    column = quoted(table.header[wide[name]])
                    orphans.append(Gap(image.path, f"{where}, column {column}: {image.message}"))
                elif image is not None:
                    sample_id, caption = f"{row_ids[row]}-{name}", captions[row]
                    origin = origins[row] if origins else None
                    yield Sample(sample_id, image, caption, *labels[name], splits[row], groups[row], where, origin)

    samples = SampleList.of(cells_of_pictures())
    settle_orphans(orphans, len(samples), on_orphan)
    check_unique(samples)
    generators = () if table.reading.is_unlabelled else CT2_GENERATORS
    read = (*wide.values(), *(matched[field] for field in matched if field == "origin"))
    notes = describe_unread(table, found, read) + odd + missing.notes
    return Parsed(samples, generators, tuple(orphans), notes=notes)


def read_xlsx(path: Path) -> Table:
    """Read the first worksheet; its first row is the header, and empty rows at its end do not count.

    Raises
    ------
    ManifestError
        `openpyxl` is missing, the file is no workbook or unpacks to more than 1 GiB, or a cell holds a formula.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise ManifestError(f"{path.name}: reading it needs pip install 'featcache[xlsx]'") from error

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which do not matter here
            _check_unpacked(path)
            book = openpyxl.load_workbook(path, read_only=True, data_only=False)
            try:
                rows = _sheet_rows(path, book)
            finally:
                book.close()
    except ManifestError:
        raise
    except Exception as error:  # what openpyxl raises for a broken workbook is open-ended
        reason = f"{type(error).__name__}: {quoted(str(error))}"
        raise ManifestError(f"{path.name} cannot be read as a workbook: {reason}") from error
    if not rows:
        raise ManifestError(f"{path.name} is empty, expected a header and rows")
    width = max(map(len, rows))
    header = tuple("" if cell is None else str(cell) for cell in _padded(rows[0], width))

    def load(positions: Sequence[int]) -> list[list[object]]:
        return [[row[position] if position < len(row) else None for row in rows[1:]] for position in positions]

    return Table(path.name, header, load, str(path.parent), row_name=lambda row: f"row {row + 2} of the sheet")


def _check_unpacked(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        size = sum(entry.file_size for entry in file.infolist())
    if size > _UNPACKED_LIMIT:
        raise ManifestError(f"{path.name} unpacks to {size} bytes, expected at most {_UNPACKED_LIMIT}: use CSV")


def _sheet_rows(path: Path, book: Any) -> list[tuple[object, ...]]:
    """Give the values of all rows up to the last one that is not empty."""
    if not book.worksheets:
        raise ManifestError(f"{path.name} has no worksheet")
    sheet = book.worksheets[0]
    sheet.reset_dimensions()  # what the file says of its own size may be wrong
    rows: list[tuple[object, ...]] = []
    filled = 0
    for cells in sheet.iter_rows():
        for cell in cells:
            if cell.data_type in ("f", "e"):
                kind = "a formula" if cell.data_type == "f" else f"the error {quoted(cell.value)}"
                place = f"{path.name}, sheet {quoted(sheet.title)}, cell {cell.coordinate}"
                raise ManifestError(f"{place}: expected text or a number, found {kind}")
        rows.append(tuple(cell.value for cell in cells))
        if any(value is not None for value in rows[-1]):
            filled = len(rows)
    return rows[:filled]


def _padded(row: Sequence[object], width: int) -> Sequence[object]:
    return (*row, *[None] * (width - len(row)))
