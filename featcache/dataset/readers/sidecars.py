"""Files beside pictures, in folders and in tars, and what they say of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from featcache.dataset.readers.cells import (
    FIELDS,
    decode_caption,
    is_unicode,
    parse_captions,
    parse_cell,
    parse_object,
    quoted,
    quoted_path,
)
from featcache.dataset.readers.columns import describe_unread, listed, parse_columns
from featcache.dataset.readers.reading import TODAY, Reading
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.tree import SIDECARS
from featcache.dataset.readers.words import is_missing
from featcache.dataset.sample import ImageFile
from featcache.errors import ManifestError
from featcache.files.regular import open_regular

__all__ = ["OBJECT_FIELDS", "SIDECAR_LIMIT", "ObjectReader", "SidecarReader", "choose_caption"]

SIDECAR_LIMIT = 2**20
"""Bytes of a metadata object; a longer one is not read."""
OBJECT_FIELDS = ("caption", "label_a", "label_b", "generator", "split", "group", "origin", "sample_id")
"""Fields of a sample that the object beside its picture may have."""
_MOST_KEYS = 1000


def choose_caption(captions: Iterable[object]) -> object:
    """Return the first caption that is no word for a missing one; if there is none, the first."""
    first = None
    for caption in captions:
        if caption is not None and not (isinstance(caption, str) and is_missing(caption)):
            return caption
        first = caption if first is None else first
    return first


class ObjectReader:
    """Takes what is said of pictures from the JSON objects beside them, and keeps account of keys that mean nothing.

    A key means the field that it is called like, in any case, or that the user names it for (`Reading.columns`).

    Parameters
    ----------
    reading : Reading
        By which rules: the first version knew captions by ``caption`` alone.
    fields : sequence of str
        What objects may say, of `OBJECT_FIELDS`.

    Raises
    ------
    ManifestError
        The user names a key for another field.
    """

    def __init__(self, reading: Reading, fields: Sequence[str] = OBJECT_FIELDS) -> None:
        named = parse_columns(reading.columns)
        if odd := sorted(named.keys() - set(fields)):
            raise ManifestError(
                f"--column {odd[0]}={quoted(named[odd[0]])}: without a table, columns are keys of the .json beside "
                f"pictures, expected one for {', '.join(fields)}"
            )
        self._named = {field: key.lower() for field, key in named.items()}
        several = {"caption": FIELDS["caption"] if reading.rules > 1 else ("caption",)}
        several["origin"] = FIELDS["origin"] if reading.rules > 2 else ()
        by_name = [(field, name) for field in fields for name in several.get(field, (field,))]
        taken = self._named.values()
        self._wanted = (
            *self._named.items(),
            *((field, key) for field, key in by_name if field not in named and key not in taken),
        )
        self._names = frozenset(key for _, key in self._wanted)
        self._takes_lists = reading.rules > 2
        self._keys: dict[str, None] = {}
        self._nested: set[str] = set()

    def parse(self, data: bytes) -> dict[str, object]:
        """Return the raw cells of an object, by field; lists and objects are none, except of captions.

        Raises
        ------
        ValueError
            It is no object, or has keys that differ by case alone.
        RecursionError
            It is nested too deeply.
        """
        row = parse_object(data)
        if len(self._keys) < _MOST_KEYS and not row.keys() <= self._keys.keys():
            self._keys.update((name, None) for name in row if len(name) <= _MOST_KEYS and is_unicode(name))
        known = {name: value for name, value in row.items() if value is not None and name.lower() in self._names}
        values = {name.lower(): value for name, value in known.items()}
        if len(values) != len(known):
            raise ValueError(f"expected keys that differ not by case alone, found {quoted(sorted(known))}")
        cells: dict[str, object] = {}
        for field, key in self._wanted:
            if self._takes_lists and field != "caption" and isinstance(values.get(key), dict | list):
                self._nested.add(key)
            elif key in values:
                cells.setdefault(field, values[key])
        return cells

    def check_caption(self, cell: object) -> object:
        """Return the caption of an object, if it is one, or a list of them as it is.

        Raises
        ------
        ValueError
            It is neither.
        """
        if not self._takes_lists and not isinstance(cell, str | float):
            return cell
        caption = parse_captions(cell)
        return cell if isinstance(caption, tuple) else caption

    def in_order(self, texts: Iterable[object], caption: object) -> Iterable[object]:
        """Give the captions of a picture in their precedence: texts, and the object's first where the user names it."""
        if "caption" in self._named:
            yield caption
        yield from texts
        yield caption

    def describe(self, origin: str, known: Collection[str]) -> tuple[str, ...]:
        """Name the keys that mean nothing, and what to type where one probably should; nothing by earlier rules.

        Parameters
        ----------
        origin : str
            How messages name the data.
        known : collection of str
            Fields that the samples have.

        Raises
        ------
        ManifestError
            No object has a key that the user names.
        """
        there = {key.lower() for key in self._keys}
        for field, key in self._named.items():
            if key not in there:
                raise ManifestError(
                    f"--column {field}={key[:80]!r}: expected a .json with such a key beside a picture of {origin}, "
                    f"found {listed(tuple(self._keys))}"
                )
        read = self._names - self._nested
        unread = tuple(key for key in self._keys if key.lower() not in read) if self._takes_lists else ()
        return describe_unread(Table(origin, unread, lambda _: []), dict.fromkeys((*known, "image", "sample_id"), -1))


class SidecarReader:
    """Reads the files beside pictures of one folder, and counts those that are not what they should be.

    Parameters
    ----------
    folder : str
        Where the files are.
    reading : Reading
        By which rules: the first version read ``.txt`` alone, the second of an object nothing but one caption.
    fields : sequence of str
        What objects may say, of `OBJECT_FIELDS`.
    takes_anything : bool
        Leave texts that cannot be read alone, too.

    Raises
    ------
    ManifestError
        The user names a key for another field.
    """

    def __init__(
        self,
        folder: str,
        reading: Reading,
        fields: Sequence[str] = OBJECT_FIELDS[:-1],
        *,
        takes_anything: bool = False,
    ) -> None:
        self._takes_anything = takes_anything
        self._objects = ObjectReader(reading, fields)
        self._folder = folder
        self._rules = reading.rules
        self._texts = SIDECARS[:2] if reading.rules > 1 else SIDECARS[:1]
        self._odd: list[str] = []
        self._odd_texts: list[str] = []
        self._n_unread = 0

    def read(self, found: Mapping[str, str]) -> dict[str, object]:
        """Return the raw cells of a picture that has these files beside it, by ending.

        The caption is that of the first of `SIDECARS` that has any.

        Raises
        ------
        ManifestError
            A text is not UTF-8, or cannot be read.
        """
        cells = self._of_object(found[".json"]) if ".json" in found and self._rules > 1 else {}
        texts = (self._of_text(f"{self._folder}/{found[ending]}") for ending in self._texts if ending in found)
        caption = choose_caption(self._objects.in_order(texts, cells.get("caption")))
        return cells if caption is None else cells | {"caption": caption}

    def describe(self, origin: str, known: Collection[str]) -> tuple[str, ...]:
        """Say what the user should know about the keys of objects (`ObjectReader.describe`).

        Raises
        ------
        ManifestError
            No object has a key that the user names.
        """
        return self._objects.describe(origin, known)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the files that were read."""
        notes = []
        if self._n_unread:
            what = f"{self._n_unread:,} .json beside pictures say labels, splits or groups"
            notes.append(f"{what}: not read into this cache by an earlier version, another --name takes them")
        if self._odd:
            what = f"{len(self._odd):,} .json beside pictures cannot be read as an object with a caption"
            notes.append(f"{what}, the first {quoted_path(self._odd[0])}: left alone")
        if self._odd_texts:
            what = f"captions beside pictures that cannot be read: {len(self._odd_texts):,}"
            notes.append(f"{what}, the first {quoted_path(self._odd_texts[0])}")
        return tuple(notes)

    def _of_text(self, path: str) -> str | None:
        try:
            return decode_caption(ImageFile(path).read_bytes())
        except (OSError, ValueError) as error:
            if self._takes_anything:
                self._odd_texts.append(path)
                return None
            if isinstance(error, OSError):
                raise ManifestError(f"caption {quoted_path(path)} cannot be read: {error}") from error
            raise ManifestError(f"{quoted_path(path)}: {error}") from error

    def _of_object(self, name: str) -> dict[str, object]:
        cells: dict[str, object] = {}
        try:
            with open_regular(f"{self._folder}/{name}") as file:
                data = file.read(SIDECAR_LIMIT + 1)
            if len(data) > SIDECAR_LIMIT:
                raise ValueError(f"more than {SIDECAR_LIMIT} bytes")
            if self._rules == 2:
                return {"caption": self._caption_alone(data)}
            cells = self._objects.parse(data)
            caption = self._objects.check_caption(cells.pop("caption", None))
        except (OSError, ValueError, RecursionError):
            self._odd.append(name)
            return cells
        return cells if caption is None else cells | {"caption": caption}

    def _caption_alone(self, data: bytes) -> object:
        """Return the one caption of an object by rules 2, and count what else it says."""
        values = {key.lower(): value for key, value in parse_object(data).items()}
        self._n_unread += any(values.get(name) is not None for name in OBJECT_FIELDS[1:-2])
        caption = next((values[name] for name in FIELDS["caption"] if values.get(name) is not None), None)
        return parse_cell("caption", caption, TODAY)
