"""What lies below a folder: pictures, the files beside them, and what looks like a picture and is not taken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import basename, splitext

from featcache.dataset.readers.cells import is_unicode, quoted_path
from featcache.dataset.readers.left_out import LeftOut, Sieve, kind_of, read_head
from featcache.errors import ManifestError

__all__ = ["SIDECARS", "TABLES", "Tree", "describe", "is_metadata", "read_tree", "stem_of"]

SIDECARS = (".txt", ".caption", ".json")
"""Endings of the files beside pictures that captions are read from, in their precedence."""
_MAX_LOOKS = 10_000
"""So many files of unknown endings are looked at, for what may be pictures of a wrong one."""
_OTHER = frozenset(
    (
        *SIDECARS,
        *(".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".tar", ".md", ".html", ".xml", ".yaml", ".yml"),
        *(".log", ".py", ".npy", ".npz", ".pt", ".pth", ".bin", ".safetensors", ".h5", ".pkl", ".zip", ".gz", ".db"),
        *(".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mp3", ".m4a", ".wav", ".aae", ".xmp", ".ini"),
    )
)
"""Endings of files that are no pictures, which are not looked at."""
TABLES = frozenset((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx"))
"""Endings of tables."""
_METADATA = re.compile(r"metadata\.(csv|jsonl|parquet)", re.IGNORECASE)
_ABOUT = ("readme", "license", "licence", "notice", "notes", "note.", "todo", "changelog", "credits", "source", "about")
"""How names of texts begin that are about a folder, and no captions."""


@dataclass(frozen=True)
class Tree:
    """Relative paths below a folder, with ``/`` between their parts, in sorted order.

    Attributes
    ----------
    pictures : tuple of str
        What is taken.
    sidecars : mapping of str to mapping of str to str
        Files with an ending of `SIDECARS`, by stem and by ending.
    metadata : tuple of str
        Files called ``metadata.csv``, ``.jsonl`` or ``.parquet``.
    has_tars : bool
        Whether there are tars.
    left_out : tuple of LeftOut
        What looks like a picture and is not taken.
    tables : tuple of str
        Other tables, but for those of img2dataset about what it downloaded.
    """

    pictures: tuple[str, ...]
    sidecars: dict[str, dict[str, str]]
    metadata: tuple[str, ...]
    has_tars: bool
    left_out: tuple[LeftOut, ...]
    tables: tuple[str, ...] = ()

    def texts(self) -> tuple[list[str], list[str]]:
        """Return the texts that have no picture beside them: captions, by their names, and others.

        A text is no caption if its name says that it is about the folder, or is written like that of no picture:
        ``0017`` beside ``0016.jpg`` is one, ``settings`` is none.
        """
        stems = {stem_of(name) for name in self.pictures}
        alone = [
            name
            for stem, found in self.sidecars.items()
            if stem not in stems
            for ending, name in found.items()
            if ending != ".json"
        ]
        shapes = {_shape(stem) for stem in stems} if alone else set()
        captions = [
            name for name in alone if _shape(stem_of(name)) in shapes and not basename(name).lower().startswith(_ABOUT)
        ]
        others = set(alone) - set(captions)
        return captions, [name for name in sorted(others) if not basename(name).lower().startswith(_ABOUT)]


def read_tree(folder: Path, *, is_early: bool, takes_any_name: bool = False) -> Tree:
    """Look at all that is below a folder; hidden files and folders are ignored, links to folders are not followed.

    Pictures are told by their endings. Files without one are pictures if their first bytes are those of one.

    Parameters
    ----------
    folder : Path
        Where to look.
    is_early : bool
        Take only what the first version took.
    takes_any_name : bool
        Take names that are not UTF-8 too, as `os.fsdecode` gives them.

    Raises
    ------
    ManifestError
        A folder cannot be read, or a name is not Unicode.
    """
    sieve = Sieve(is_early, str(folder))
    pictures: list[str] = []
    sidecars: dict[str, dict[str, str]] = {}
    metadata: list[str] = []
    tables: list[str] = []
    has_tars, n_looks = False, 0
    for name in sorted(_walk(folder, takes_any_name=takes_any_name)):
        if splitext(name)[1].lower() in sieve.endings:  # most files are pictures, and there may be millions
            pictures.append(name)
            continue
        ending = kind_of(name)
        is_taken = sieve.takes(name)
        if ending in SIDECARS:
            sidecars.setdefault(stem_of(name), {})[ending] = name
        elif is_metadata(basename(name)):
            metadata.append(name)
        elif ending in TABLES:
            tables.append(name)
        has_tars |= ending == ".tar"
        if is_taken is None and ending not in _OTHER and n_looks < _MAX_LOOKS:
            n_looks += bool(ending)
            is_taken = sieve.takes_bytes(name, read_head(f"{folder}/{name}"))
        if is_taken:
            pictures.append(name)
    told = tuple(name for name in tables if f"{stem_of(name)}_stats" not in sidecars)
    return Tree(tuple(pictures), sidecars, tuple(metadata), has_tars, sieve.left_out, told)


def is_metadata(name: str) -> bool:
    """Whether a file is called like the table of Hugging Face's ImageFolder."""
    return bool(_METADATA.fullmatch(name))


def stem_of(name: str) -> str:
    """Return a name without its ending."""
    return splitext(name)[0]


def _walk(folder: Path, *, takes_any_name: bool) -> Iterator[str]:
    """Give the relative posix paths of all files that are not hidden.

    Raises
    ------
    ManifestError
        A folder cannot be read, or a name is not Unicode.
    """

    def fail(error: OSError) -> None:
        raise ManifestError(f"folder {quoted_path(folder)} cannot be read: {error}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(parent).relative_to(folder).as_posix()
        prefix = "" if place == "." else f"{place}/"
        for file in files:
            if not file.startswith("."):
                name = f"{prefix}{file}"
                if not (takes_any_name or is_unicode(name)):
                    raise ManifestError(
                        f"file {quoted_path(name)} in {quoted_path(folder)}: expected a name in UTF-8, rename it"
                    )
                yield name


def describe(names: Sequence[str], one: str, several: str) -> tuple[str, ...]:
    """Say how many of some files there are, and which is the first; nothing of none."""
    if len(names) < 2:
        return tuple(f"1 {one}: {quoted_path(name)}" for name in names)
    return (f"{len(names):,} {several}, the first {quoted_path(names[0])}",)


def _shape(stem: str) -> str:
    """Write the last part of a stem with ``a`` for letters and ``0`` for digits, one for any number of them."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", basename(stem)))
