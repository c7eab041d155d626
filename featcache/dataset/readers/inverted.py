"""Columns of labels whose names say the opposite of how they are read: ``is_real``, where 1 is read as AI."""

import re
from collections.abc import Mapping

from featcache.dataset.readers.cells import LABELS, quoted
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.words import canonical, is_weak, verdict_of
from featcache.errors import ManifestError

__all__ = ["check_inverted", "is_inverted"]

_NOT = frozenset(("not", "non", "no"))


def is_inverted(column: str) -> bool:
    """Say whether a name means that 1 is real: ``is_real``, ``human``, ``not_ai``, but not ``real_or_fake``."""
    found = re.findall("[A-Z]?[a-z]+|[A-Z]+", column[:100])
    parts = [part for part in (part.lower().removeprefix("is") for part in found) if part]
    verdicts = {verdict_of(part) for part in parts if len(parts) == 1 or not is_weak(part)} - {None}
    return verdicts == {int(bool(_NOT & set(parts)))}


def check_inverted(table: Table, found: Mapping[str, int]) -> tuple[str, ...]:
    """Refuse numbers of a label in a column whose name says that 1 is real, unless the user states what they mean.

    Data sets that were read by earlier rules go on, and it is said.

    Parameters
    ----------
    table : Table
        Whose columns.
    found : mapping of str to int
        Position in the header by field.

    Returns
    -------
    tuple of str
        Lines for the user.

    Raises
    ------
    ManifestError
        There is such a column.
    """
    reading = table.reading
    if reading.stated or reading.rest is not None:
        return ()
    for field in LABELS:
        if field not in found or not is_inverted(table.header[found[field]]):
            continue
        (cells,) = table.load([found[field]])
        if not {"0", "1"} & {canonical(str(cell)) for cell in cells if cell is not None}:
            continue
        what = f"{table.origin}: 1 means AI in {field}, and the name {quoted(table.header[found[field]])} says real"
        typed = "--labels 1=real,0=ai states it so, --labels 1=ai,0=real the other way"
        if reading.rules > 2:
            raise ManifestError(f"{what}: {typed}")
        return (f"{what}; read into this cache as AI: {typed}",)
    return ()
