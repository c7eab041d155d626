"""Tables of raw cells: what every reader of rows gives, loaded by column and parsed by field."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.dataset.readers.cells import LABELS, parse_cell, quoted
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.errors import ManifestError

__all__ = ["Table", "load_columns", "more_rows", "refuse_rows"]


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
        Gives the place of a row (from 0) for messages; None: its origin and `row_name`.
    row_name : callable
        Names a row (from 0) within its origin: where somebody finds it who opens the file, if that is known, and else
        "row N", from 1. Rows can be named once they were loaded.
    declared : tuple of str
        Class names of task B whose order the source itself declares.
    reading : Reading
        By which rules labels and captions are read, and what the user says of columns and paths.
    default_id : callable
        Gives the id of a row (from 0) that has no other.
    has_texts : bool
        Captions are texts as they are, as in files of their own, and no lists in text.
    """

    origin: str
    header: tuple[str, ...]
    load: Callable[[Sequence[int]], list[list[object]]]
    folder: str | None = None
    place: Callable[[int], str] | None = None
    row_name: Callable[[int], str] = lambda row: f"row {row + 1}"
    declared: tuple[str, ...] = ()
    reading: Reading = TODAY
    default_id: Callable[[int], str] = lambda row: f"row-{row + 1}"
    has_texts: bool = False

    def where(self, row: int) -> str:
        """Name a row (from 0) for messages."""
        return self.place(row) if self.place else f"{self.origin}, {self.row_name(row)}"


def load_columns(table: Table, wanted: Iterable[tuple[str, int]]) -> list[list[Any]]:
    """Load columns, and parse each cell by the rule of its field.

    Parameters
    ----------
    table : Table
        The table whose rows are loaded.
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
    _check_stated(table, columns, loaded)
    for (field, _), cells in zip(columns, loaded, strict=True):
        if field == "split":
            table.reading.check_splits(table.origin, {cell for cell in cells if isinstance(cell, str)})
    has_label_a = any(
        field == "label_a" and any(cell not in (None, "") for cell in cells)
        for (field, _), cells in zip(columns, loaded, strict=True)
    )
    return [
        _parse_cells(table, position, cells, field, has_label_a=has_label_a)
        for (field, position), cells in zip(columns, loaded, strict=True)
    ]


def _check_stated(table: Table, columns: Sequence[tuple[str, int]], loaded: Sequence[Sequence[object]]) -> None:
    """Raise if the user states what values of the labels mean that are nowhere."""
    labels = [(field, cells) for (field, _), cells in zip(columns, loaded, strict=True) if field in LABELS]
    if not (table.reading.stated and labels):
        return
    said = {str(cell) for _, cells in labels for cell in cells if cell is not None}
    table.reading.check_stated(table.origin, said, f"{{}} in {' and '.join(field for field, _ in labels)}")


def _parse_cells(table: Table, position: int, cells: Sequence[object], field: str, *, has_label_a: bool) -> list[Any]:
    reading = table.reading.of_names if has_label_a and field != "label_a" else table.reading
    values, faults = [], []
    # Labels have few values in many rows; of what is no text, equal cells may mean different things (1 and True).
    known: dict[str, object] = {}
    for row, cell in enumerate(cells):
        try:
            if field not in LABELS or not isinstance(cell, str):
                values.append(parse_cell(field, cell, reading))
                continue
            if cell not in known:
                known[cell] = parse_cell(field, cell, reading)
            values.append(known[cell])
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
        If any row breaks the rule; the first is named.
    """
    if rows:
        raise ManifestError(f"{table.where(rows[0])}, {describe(rows[0])}{more_rows(len(rows))}")


def more_rows(count: int, what: str = "row") -> str:
    """Say in a message about the first of some rows how many others there are."""
    return f" (and {count - 1} more {what if count == 2 else what + 's'})" if count > 1 else ""
