"""How a raw cell becomes a value, by the rule of its field, and how messages quote it."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import cast

from featcache.dataset.readers.reading import Reading
from featcache.dataset.readers.words import canonical, is_missing
from featcache.dataset.sample import ImageSource
from featcache.identity.terms import UNKNOWN

__all__ = [
    "FIELDS",
    "LABELS",
    "Captions",
    "decode_caption",
    "escape_surrogates",
    "is_unicode",
    "parse_captions",
    "parse_cell",
    "parse_object",
    "parse_objects",
    "quoted",
    "quoted_path",
]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "img", "path", "image_path", "file_name", "filename"),
    "caption": ("caption", "text", "prompt"),
    "label_a": ("label_a",),
    "label_b": ("label_b",),
    "generator": ("generator",),
    "split": ("split",),
    "sample_id": ("sample_id", "id", "index"),
    "group": ("group",),
    "origin": ("origin", "source"),
}
LABELS = ("label_a", "label_b", "generator")
"""Fields that say what a picture is."""
Captions = str | tuple[tuple[int, str], ...] | None
"""A caption, those of a list with their places in it, or none."""

_BLANKS = re.compile(r"[ \t\n\r]*")


def quoted(value: object) -> str:
    """Quote a value for a message: its repr, without control characters, of at most 80 characters."""
    text = repr(value[:100] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def quoted_path(path: str | PurePath) -> str:
    """Quote a path for a message: as `quoted`, of at most 302 characters, and what is too long loses its middle."""
    name = str(path)
    shown = repr(name if len(name) <= 300 else f"{name[:100]}...{name[-180:]}")
    return shown if len(shown) <= 302 else f"{shown[:100]}...{shown[-180:]}"


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
    if not is_unicode(cell):
        raise ValueError(f"expected valid Unicode, found a lone surrogate in {quoted(cell)}")
    return cell


def is_unicode(text: str) -> bool:
    """Say whether UTF-8 can hold a text: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_surrogates(text: str) -> str:
    """Write what UTF-8 cannot hold with backslashes: ``caf\\udce9.jpg`` is a name in Latin-1 as Python reads it."""
    return text.encode("utf-8", "backslashreplace").decode()


def parse_captions(cell: object) -> Captions:
    """Give the caption of a cell, or those of a list with their places in it, without what stands for none.

    Raises
    ------
    ValueError
        It is neither.
    """
    if not isinstance(cell, list):
        return _parse_text(cell)
    captions = enumerate(map(_parse_text, cell))
    return tuple((place, text) for place, text in captions if text is not None and not is_missing(text)) or None


def _parse_name(cell: object) -> str | None:
    text = _parse_text(cell)
    return None if text is None else text.strip()


def _parse_class(cell: object, reading: Reading) -> str | None:
    name = _parse_name(cell)
    if name is not None and not reading.is_early and canonical(name) not in reading.stated:
        _refuse_switch(cell, name)
    return None if name is None else reading.of_class(name)


def _refuse_switch(cell: object, name: str) -> None:
    if isinstance(cell, bool) or name.lower() in ("true", "false"):
        raise ValueError(
            f"unknown label {quoted(cell)}, expected a class name: --labels states what it means, such as "
            "true=ai,false=real"
        )


def _parse_id(cell: object) -> str:
    text = _parse_name(cell)
    if text is None:
        raise ValueError("expected an id in every row, found an empty cell")
    return text


def _parse_image(cell: object) -> str | ImageSource | None:
    if isinstance(cell, str):  # exact, and with a NUL or a surrogate too: no such file, so an orphan
        return cell if cell and not cell.isspace() else None
    if callable(getattr(cell, "read_bytes", None)):  # isinstance of a protocol takes 25 us, and rows are many
        return cast(ImageSource, cell)
    return _parse_text(cell)


def _parse_label_a(cell: object, reading: Reading) -> int:
    text = _parse_name(cell)
    verdict = None if text is None else reading.of_label(text)
    return UNKNOWN if verdict is None else verdict


def _parse_label_b(cell: object, reading: Reading) -> int | str | None:
    text = _parse_name(cell)
    if text is None or (not reading.is_early and is_missing(text)):
        return None
    if canonical(text) in reading.stated:
        found = reading.of_class(text)
        return 0 if found == "real" else found
    if number := re.fullmatch(r"(-1|\+?[0-9]{1,9})(\.0*)?", text):
        if (reading.rest is not None and int(number[1]) == 0) or reading.rest == 0:
            return None
        return None if int(number[1]) == UNKNOWN else int(number[1])
    if isinstance(cell, bool) or re.fullmatch(r"[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf|nan)", text, re.IGNORECASE):
        raise ValueError(f"unknown label {quoted(cell)}, expected a whole number from 0 or a class name")
    found = _parse_class(cell, reading)
    return 0 if found == "real" else found


def _parse_split(cell: object, reading: Reading) -> str | None:
    text = _parse_name(cell)
    if text is None or is_missing(text):
        return None
    split = reading.split_named(text)
    if split is None:
        raise ValueError(
            f"unknown split {quoted(text)}, expected train, valid, test or nothing: --splits states what it means, "
            "such as holdout=test"
        )
    return split


def _parse_group(cell: object, reading: Reading) -> str | None:
    text = _parse_name(cell)
    return None if text is None or (reading.rules > 1 and is_missing(text)) else text


_PARSERS: Mapping[str, Callable[[object], object]] = {
    "image": _parse_image,
    "caption": _parse_text,
    "captions": parse_captions,
    "sample_id": _parse_id,
    "origin": _parse_name,
}
_READ: Mapping[str, Callable[[object, Reading], object]] = {
    "label_a": _parse_label_a,
    "label_b": _parse_label_b,
    "generator": _parse_class,
    "group": _parse_group,
    "split": _parse_split,
}
"""Fields whose cells mean what the reading of the data set says."""


def parse_cell(field: str, cell: object, reading: Reading) -> object:
    """Parse a raw cell of a field.

    Returns
    -------
    object
        image: str (a path), `ImageSource` or None; caption: the exact text or None; captions: the same, or of a list
        (place, text) of each; label_a: 0, 1 or -1; label_b: int >= 0, class name or None; generator: class name or
        None; others: stripped text or None. The class of an AI picture of unknown generator is `AI_CLASS`, except by
        rules 1.

    Raises
    ------
    ValueError
        The cell breaks the rule of its field.
    """
    return _READ[field](cell, reading) if field in _READ else _PARSERS[field](cell)


def decode_caption(data: bytes) -> str | None:
    """Decode the caption that is alone in a file: UTF-8 without newlines at its end; None: there is none.

    Raises
    ------
    ValueError
        It is no UTF-8, or has a NUL.
    """
    try:
        caption = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8, found 0x{error.object[error.start]:02x} at byte {error.start}") from error
    if "\0" in caption:
        raise ValueError("expected text without NUL characters")
    return None if not caption or caption.isspace() else caption


def parse_object(text: str | bytes) -> dict[str, object]:
    """Parse a JSON object whose own keys differ.

    Raises
    ------
    ValueError
        If the text is no such value.
    RecursionError
        If the value is nested too deeply.
    """
    keys = _Keys()
    return keys.check(json.loads(text, object_pairs_hook=keys.build))


def parse_objects(text: str) -> Iterator[dict[str, object]]:
    """Parse a JSON array of objects, each of whose own keys differ; one after the other.

    Raises
    ------
    ValueError
        It is none.
    RecursionError
        An object is nested too deeply.
    """
    keys = _Keys()
    decoder = json.JSONDecoder(object_pairs_hook=keys.build)
    at = _skip_blanks(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError(f"expected a list of objects, found {quoted(text[at : at + 20])}")
    at = _skip_blanks(text, at + 1)
    while text[at : at + 1] != "]":
        row, at = decoder.raw_decode(text, at)
        yield keys.check(row)
        at = _skip_blanks(text, at)
        if text[at : at + 1] == ",":
            at = _skip_blanks(text, at + 1)
            if text[at : at + 1] == "]":
                raise ValueError(f"expected an object after the comma before character {at}, found the list's end")
        elif text[at : at + 1] != "]":
            raise ValueError(f"expected , or ] at character {at}, found {quoted(text[at : at + 20])}")
    if rest := text[_skip_blanks(text, at + 1) :][:20]:
        raise ValueError(f"expected nothing after the list, found {quoted(rest)}")


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


class _Keys:
    """The keys of the outermost object that was parsed, which is built last."""

    def __init__(self) -> None:
        self._own: list[str] = []

    def build(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        self._own[:] = [name for name, _ in pairs]
        return dict(pairs)

    def check(self, row: object) -> dict[str, object]:
        if not isinstance(row, dict):
            raise ValueError(f"expected an object, found {quoted(row)}")
        if len(self._own) != len(row):
            raise ValueError(f"the key {quoted(Counter(self._own).most_common(1)[0][0])} occurs twice")
        return row
