"""Which columns of a table mean what: by their names, or as the user says; and what is said of the others."""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from featcache.dataset.readers.cells import FIELDS, LABELS, is_unicode, quoted
from featcache.dataset.readers.inverted import is_inverted
from featcache.dataset.readers.table import Table, load_columns
from featcache.errors import ManifestError, did_you_mean

__all__ = [
    "describe_unread",
    "listed",
    "load_origins",
    "match_columns",
    "parse_columns",
    "without_labels",
    "write_columns",
]

_FIELD_OF = {name: field for field, names in FIELDS.items() for name in names if field != "origin"}
_LIKELY: Mapping[str, tuple[str, ...]] = {
    "image": ("images", "imagefile", "imagename", "imgpath", "file", "filepath", "files", "picture", "photo",
              "jpg", "jpeg", "png", "webp", "bytes", "imagebytes"),
    "caption": ("captions", "captiontext", "rawcaption", "description", "sentence", "sentences", "sentencesraw",
                "alt", "alttext", "textprompt", "positiveprompt"),
    "label_a": ("label", "labels", "labela", "target", "y", "isai", "isfake", "isgenerated", "isaigenerated",
                "aigenerated", "fake", "ai", "isreal", "real"),
    "generator": ("model", "modelname", "generatorname", "generatormodel", "class", "classname"),
    "split": ("subset", "set", "partition", "fold"),
    "sample_id": ("uid", "uuid", "key", "imageid", "imgid"),
    "group": ("groupid", "promptid", "captionid", "cocoid", "photoid"),
}  # fmt: skip
"""Names, without case and signs, under which others keep what a field means: too little to be read unasked."""
_FIELD_LIKELY = {name: field for field, names in _LIKELY.items() for name in names}
_ADDRESSES = frozenset(("url", "urls", "imageurl", "imgurl", "link"))
_LONGEST = 1000
_MOST_NAMED = 10
_MOST_HINTS = 5
_MOST_TRIED = 1000


def parse_columns(text: str) -> dict[str, str]:
    """Read what ``--column`` says: ``FIELD=COLUMN``, several separated by commas.

    What has no ``=`` goes on with the column before it, whose name has a comma.

    Raises
    ------
    ManifestError
        If that is no field, a field is named twice, or no column is.
    """
    named: dict[str, str] = {}
    field = ""
    for part in text.split(",") if text else ():
        name, equals, column = part.partition("=")
        if not equals and field:
            named[field] += f",{part}"
            continue
        field = name.strip()
        if field not in FIELDS or not column.strip():
            near = "" if field in FIELDS else did_you_mean(field, FIELDS)
            raise ManifestError(
                f"--column {quoted(part)}: expected FIELD=COLUMN, FIELD one of {', '.join(FIELDS)}{near}"
            )
        if field in named:
            raise ManifestError(f"--column {quoted(part)}: {field} is {quoted(named[field])} already")
        named[field] = column
    if odd := [field for field, column in named.items() if len(column) > _LONGEST or not is_unicode(column)]:
        raise ManifestError(f"--column {odd[0]}=…: expected a name in Unicode of at most {_LONGEST} characters")
    return named


def write_columns(named: Mapping[str, str]) -> str:
    """Write columns by what they mean so that `parse_columns` reads them."""
    return ",".join(f"{field}={column}" for field, column in named.items())


def match_columns(table: Table) -> dict[str, int]:
    """Find the columns that mean something: those that `Reading.columns` names, others by their names.

    Names count without case, surrounding blanks and a BOM. A column that is named for one field is not another one
    by its name. ``source`` is the origin of rows where no column is called ``origin``.

    Returns
    -------
    dict of str to int
        Position in the header by field, one of `FIELDS`.

    Raises
    ------
    ManifestError
        Two columns match one field, or a named one is not there.
    """
    named = parse_columns(table.reading.columns)
    found = {field: _position(table, field, name) for field, name in named.items()}
    taken = frozenset(found.values())
    others = [(position, _plain(column)) for position, column in enumerate(table.header) if position not in taken]
    for position, name in others:
        field = _FIELD_OF.get(name)
        if field is None or field in named:
            continue
        if field in found:
            columns = f"{quoted(table.header[found[field]])} and {quoted(table.header[position])}"
            raise ManifestError(
                f"{table.origin}: columns {columns} both mean {field}, expected one of them: name it with "
                f"--column {field}=…"
            )
        found[field] = position
    for wanted in FIELDS["origin"]:
        first = next((position for position, name in others if name == wanted), None)
        if first is not None and "origin" not in found:
            found["origin"] = first
    return found


def without_labels(table: Table) -> Table:
    """Return the same rows with no columns of labels, splits and groups: none of their rules can be broken then."""
    unread = {*LABELS, "split", "group"}
    header = tuple("" if _FIELD_OF.get(_plain(column)) in unread else column for column in table.header)
    return replace(table, header=header, declared=())


def _plain(column: str) -> str:
    return column.strip().strip("\ufeff").strip().lower()


def _position(table: Table, field: str, name: str) -> int:
    """Find a column that the user names, as it is written or else without case and blanks."""
    positions = [position for position, column in enumerate(table.header) if column == name]
    positions = positions or [p for p, column in enumerate(table.header) if _plain(column) == _plain(name)]
    if len(positions) == 1:
        return positions[0]
    what = f"--column {field}={name[:80]!r}: {table.origin}"
    if positions:
        raise ManifestError(f"{what} has {len(positions)} columns of this name, expected one")
    hint = did_you_mean(name, (column for column in table.header[:_MOST_TRIED] if len(column) <= 80))
    raise ManifestError(f"{what} has no such column, expected one of {listed(table.header)}{hint}")


def listed(names: Sequence[str]) -> str:
    """Quote names for a message, the first ten of them."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(quoted, names[:_MOST_NAMED])) + more or "none"


def describe_unread(table: Table, found: Mapping[str, int], used: Collection[int] = ()) -> tuple[str, ...]:
    """Name the columns that mean nothing here, and what to type where one probably should.

    Parameters
    ----------
    table : Table
        Whose columns.
    found : mapping of str to int
        What `match_columns` found.
    used : collection of int
        Positions of columns that are read besides.

    Returns
    -------
    tuple of str
        Lines for the user; none where every column is read.
    """
    read = {*found.values(), *used}
    unread = [column for position, column in enumerate(table.header) if position not in read and column.strip()]
    # What begins with two underscores, or is called Unnamed, was added by a program: the index of pandas.
    unread = [column for column in unread if not column.startswith(("__", "Unnamed:"))]
    known = {*found, *(["generator"] if "label_b" in found else [])}
    if used:  # the columns of pictures say what they are
        known |= {"image", "label_a", "generator"}
    hints = dict(islice(_hints(unread[:_MOST_TRIED], known), _MOST_HINTS))
    others = [column for column in unread if column not in hints]
    return (*hints.values(), *([f"{table.origin}: not read: {listed(others)}"] if others else []))


def load_origins(table: Table, found: Mapping[str, int]) -> tuple[list[str | None], tuple[str, ...]]:
    """Load where each row comes from, if a column says so, and say why it does not count.

    A column that is named so by chance may hold anything: only one that the user named has to be right.

    Raises
    ------
    ManifestError
        A cell of a column that the user named is no text.
    """
    if "origin" not in found:
        return [], ()
    try:
        return load_columns(table, [("origin", found["origin"])])[0], ()
    except ManifestError as error:
        if "origin" in parse_columns(table.reading.columns):
            raise
        return [], (f"the origin of rows is not read: {error}",)


def _hints(columns: Sequence[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    for column in columns:
        name = re.sub(r"[\W_]+", "", column[:100].lower())
        field = _FIELD_LIKELY.get(name)
        if name in _ADDRESSES and "image" not in known:
            what = "pictures are read from files, download them first (img2dataset does)"
            yield column, f"{quoted(column)} is not read: {what}"
        elif field is not None and field not in known and column.isprintable():
            option = f"--column {shlex.quote(f'{field}={column}')}"
            option += " --labels 1=real,0=ai" if field == "label_a" and is_inverted(column) else ""
            yield column, f"{quoted(column)} is not read: {option} if it is the {_MEANS[field]}"


_MEANS = {
    "image": "picture",
    "caption": "caption",
    "label_a": "label real or AI",
    "generator": "generator",
    "split": "split",
    "sample_id": "sample's id",
    "group": "group",
}
