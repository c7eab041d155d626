"""What all readers share: a table of raw cells, and the rules by which a cell becomes a value.

Every reader of a table gives a `Table`; `featcache.sources.tables.parse_table` turns a narrow one (one
picture a row) into samples, `featcache.sources.ct2.parse_wide` a wide one.
"""

import math
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from featcache.errors import ManifestError
from featcache.manifest import UNKNOWN, ImageFile, ImageSource, Sample

__all__ = [
    "AI_NAMES",
    "FIELDS",
    "REAL_NAMES",
    "SPLIT_NAMES",
    "OnOrphan",
    "Parsed",
    "Table",
    "check_unique",
    "find_image",
    "load_columns",
    "match_columns",
    "quoted",
    "refuse_rows",
    "settle_orphans",
]

OnOrphan = Literal["error", "skip"]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "img", "path", "image_path", "file_name", "filename"),
    "caption": ("caption", "text", "prompt"),
    "label_a": ("label_a",),
    "label_b": ("label_b",),
    "generator": ("generator",),
    "split": ("split",),
    "sample_id": ("sample_id", "id", "index"),
    "group": ("group",),
}
_FIELD_OF = {name: field for field, names in FIELDS.items() for name in names}
REAL_NAMES = frozenset(("real", "human", "natural", "nature"))
AI_NAMES = frozenset(("ai", "fake", "generated", "synthetic", "ai-generated"))
SPLIT_NAMES: Mapping[str, str] = (
    dict.fromkeys(("train", "training"), "train")
    | dict.fromkeys(("valid", "val", "validation", "dev"), "valid")
    | dict.fromkeys(("test", "testing"), "test")
)


class Parsed(NamedTuple):
    """What a reader makes of its source; the fields are those of `Manifest`."""

    samples: tuple[Sample, ...]
    generators: tuple[str, ...]
    orphans: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of raw cells, loaded by column.

    Attributes
    ----------
    origin : str
        How messages name the table, such as "manifest.csv".
    header : tuple of str
        The names of all columns, as found.
    load : callable
        Gives the columns at some positions of the header, each a list with one cell per row: str, int, float,
        bool, None, or an `ImageSource`; anything else is refused by the parser of the cell.
    folder : str or None
        Relative image paths resolve against it; None: no path can be resolved.
    place : callable or None
        Gives the place of a row (from 0) for messages; None: "origin, row N", from 1.
    declared : tuple of str
        Class names of task B whose order the source itself declares.
    """

    origin: str
    header: tuple[str, ...]
    load: Callable[[Sequence[int]], list[list[object]]]
    folder: str | None = None
    place: Callable[[int], str] | None = None
    declared: tuple[str, ...] = ()

    def where(self, row: int) -> str:
        """Name a row (from 0) for messages."""
        return self.place(row) if self.place else f"{self.origin}, row {row + 1}"


def quoted(value: object) -> str:
    """Quote a value for a message: its repr, without control characters, of at most 80 characters."""
    text = repr(value[:100] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def match_columns(table: Table) -> dict[str, int]:
    """Find the columns that mean something, without regard to case, surrounding blanks and a BOM.

    Returns
    -------
    dict of str to int
        Position in the header by field: image, caption, label_a, label_b, generator, split, sample_id, group.

    Raises
    ------
    ManifestError
        Two columns match one field.
    """
    found: dict[str, int] = {}
    for position, column in enumerate(table.header):
        field = _FIELD_OF.get(column.strip().strip("\ufeff").strip().lower())
        if field is None:
            continue
        if field in found:
            names = f"{quoted(table.header[found[field]])} and {quoted(column)}"
            raise ManifestError(f"{table.origin}: columns {names} both mean {field}, expected one of them")
        found[field] = position
    return found


def load_columns(table: Table, wanted: Iterable[tuple[str, int]]) -> list[list[Any]]:
    """Load columns, and parse each cell by the rule of its field.

    Parameters
    ----------
    table : Table
        What to load from.
    wanted : iterable of (str, int)
        Field and position in the header of each column.

    Returns
    -------
    list of list
        One value a row for each column. image: str (a path), `ImageSource` or None; caption: the exact text
        or None; label_a: 0, 1 or -1; label_b: int >= 0, class name or None; others: stripped text or None.

    Raises
    ------
    ManifestError
        The table has no rows, or a cell breaks its field's rule.
    """
    columns = list(wanted)
    loaded = table.load([position for _, position in columns])
    if not any(loaded):
        raise ManifestError(f"{table.origin} has no rows, expected at least one")
    return [
        _parse_cells(table, position, cells, _PARSERS[field])
        for (field, position), cells in zip(columns, loaded, strict=True)
    ]


def _parse_cells(table: Table, position: int, cells: Sequence[object], parse: Callable[[object], object]) -> list[Any]:
    values, faults = [], []
    for row, cell in enumerate(cells):
        try:
            values.append(parse(cell))
        except ValueError as error:
            faults.append((row, str(error)))
    column = quoted(table.header[position])
    refuse_rows(table, [row for row, _ in faults], lambda _: f"column {column}: {faults[0][1]}")
    return values


def refuse_rows(table: Table, rows: Sequence[int], describe: Callable[[int], str]) -> None:
    """Raise for the first of some offending rows (from 0), with their count; pass when there is none.

    Raises
    ------
    ManifestError
        There is an offending row.
    """
    if rows:
        raise ManifestError(f"{table.where(rows[0])}, {describe(rows[0])}{_more(len(rows))}")


def _more(count: int) -> str:
    rows = "row" if count == 2 else "rows"
    return f" (and {count - 1} more {rows})" if count > 1 else ""


def _parse_text(cell: object) -> str | None:
    """Give the exact text of a cell; None: the cell is empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, int):
        return str(cell)
    if not isinstance(cell, str):
        raise ValueError(f"expected text or a number, found a {type(cell).__name__}")
    if not cell or cell.isspace():
        return None
    if "\0" in cell:
        raise ValueError(f"expected text without NUL characters, found {quoted(cell)}")
    if not _is_unicode(cell):
        raise ValueError(f"expected valid Unicode, found a lone surrogate in {quoted(cell)}")
    return cell


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_name(cell: object) -> str | None:
    text = _parse_text(cell)
    return None if text is None else text.strip()


def _parse_class(cell: object) -> str | None:
    name = _parse_name(cell)
    return "real" if name is not None and name.lower() == "real" else name


def _parse_id(cell: object) -> str:
    text = _parse_name(cell)
    if text is None:
        raise ValueError("expected an id in every row, found an empty cell")
    return text


def _parse_image(cell: object) -> str | ImageSource | None:
    if isinstance(cell, str):  # exact, and with a NUL or a surrogate too: no such file, so an orphan
        return cell if cell and not cell.isspace() else None
    return cell if isinstance(cell, ImageSource) else _parse_text(cell)


def _parse_label_a(cell: object) -> int:
    text = str(int(cell)) if isinstance(cell, bool) else _parse_name(cell)
    if text is None:
        return UNKNOWN
    if re.fullmatch(r"[01](\.0*)?|-1(\.0*)?", text):
        return int(float(text))
    name = text.lower()
    if name not in REAL_NAMES | AI_NAMES:
        raise ValueError(f"unknown label {quoted(text)}, expected 0 or real, 1 or ai, -1 or nothing")
    return int(name in AI_NAMES)


def _parse_label_b(cell: object) -> int | str | None:
    text = _parse_class(cell)
    if text is None or text == "real":
        return None if text is None else 0
    if number := re.fullmatch(r"(-1|\+?[0-9]{1,9})(\.0*)?", text):
        return None if int(number[1]) == UNKNOWN else int(number[1])
    if isinstance(cell, bool) or re.fullmatch(r"[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf|nan)", text, re.IGNORECASE):
        raise ValueError(f"unknown label {quoted(cell)}, expected a whole number from 0 or a class name")
    return text


def _parse_split(cell: object) -> str | None:
    text = _parse_name(cell)
    if text is not None and text.lower() not in SPLIT_NAMES:
        raise ValueError(f"unknown split {quoted(text)}, expected train, valid, test or nothing")
    return None if text is None else SPLIT_NAMES[text.lower()]


_PARSERS: Mapping[str, Callable[[object], object]] = {
    "image": _parse_image,
    "caption": _parse_text,
    "label_a": _parse_label_a,
    "label_b": _parse_label_b,
    "generator": _parse_class,
    "split": _parse_split,
    "sample_id": _parse_id,
    "group": _parse_name,
}


def find_image(path: str, folder: str | None) -> ImageFile | str:
    """Resolve a path against a folder and look whether a regular file is there, without opening it.

    Returns
    -------
    ImageFile or str
        The picture, or what is wrong with the path.
    """
    if folder is None and not Path(path).is_absolute():
        return f"{quoted(path)} is a relative path, and there is no folder it could be relative to"
    file = Path(folder or "", path)
    try:
        if stat.S_ISREG(file.stat().st_mode) and _is_unicode(path):
            return ImageFile(str(file))
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate, which no file's name has
        return f"there is no file {quoted(path)}"
    return f"{quoted(path)} is not a regular file"


def settle_orphans(orphans: Sequence[str], n_samples: int, on_orphan: OnOrphan) -> None:
    """Raise for orphans, unless they are skipped and samples are left.

    Raises
    ------
    ManifestError
        There are orphans under ``on_orphan="error"``, or nothing but orphans.
    """
    if orphans and on_orphan == "error":
        hint = "put them in their places or leave such rows out with --on-orphan skip"
        raise ManifestError(f"{orphans[0]}{_more(len(orphans))}: {hint}")
    if orphans and not n_samples:
        raise ManifestError(f"no samples are left without orphans: {orphans[0]}{_more(len(orphans))}")


def check_unique(samples: Sequence[Sample]) -> None:
    """Refuse samples of which two have one id.

    Raises
    ------
    ManifestError
        An id occurs twice; the message names both rows.
    """
    first: dict[str, Sample] = {}
    repeated = [sample for sample in samples if first.setdefault(sample.sample_id, sample) is not sample]
    if repeated:
        again = repeated[0]
        raise ManifestError(
            f"{again.where}: sample_id {quoted(again.sample_id)} is taken by {first[again.sample_id].where}, "
            f"expected unique ids{_more(len(repeated))}"
        )
