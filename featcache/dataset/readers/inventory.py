"""All that lies below a folder of somebody else: names are theirs to choose, so what is a picture is told by bytes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import basename, splitext

from featcache.dataset.readers.cells import escape_surrogates, quoted_path
from featcache.dataset.readers.left_out import Gap, Sieve, kind_of
from featcache.dataset.readers.tree import SIDECARS, TABLES, Tree, is_metadata, stem_of
from featcache.errors import ManifestError
from featcache.files.picture_formats import HEAD_BYTES
from featcache.files.regular import open_regular

__all__ = ["Inventory", "take_inventory"]

_NO_ENDING = "without an ending"


@dataclass(frozen=True)
class Inventory:
    """What lies below a folder: nothing is missing in it.

    Attributes
    ----------
    tree : Tree
        Pictures, whatever they are called and wherever they lie; the files beside them, and tables, that are not
        hidden.
    broken : tuple of Gap
        Folders and files that cannot be looked at.
    passed_over : mapping of str to int
        How many of the rest there are: by ending (``.txt``), or ``hidden``, ``linked folder``, ``link to nothing``,
        ``no regular file``, ``without an ending``. `featcache.dataset.loose` adds ``unused table``.
    """

    tree: Tree
    broken: tuple[Gap, ...]
    passed_over: Mapping[str, int]

    def without(self, names: Iterable[str]) -> Inventory:
        """Return the same without some files that are read after all, of those that were passed over."""
        return replace(self, passed_over=+(Counter(self.passed_over) - Counter(map(_called, names))))


def take_inventory(folder: Path) -> Inventory:
    """Look at all that is below a folder, hidden files and folders too; links to folders are not followed.

    A file is a picture by its ending, or by its first bytes if it has another one, none, or is hidden: those of all
    such files are read. Raw pictures begin as TIFF files do, and are told by their endings.

    Raises
    ------
    ManifestError
        The folder cannot be read.
    """
    found = _Finds(folder)
    for name in sorted(found.walk()):
        found.add(name)
    sidecars, tables = found.sidecars, found.tables
    told = tuple(
        name for name in tables if not is_metadata(basename(name)) and f"{stem_of(name)}_stats" not in sidecars
    )
    metadata = tuple(name for name in tables if is_metadata(basename(name)))
    tree = Tree(tuple(found.pictures), sidecars, metadata, found.has_tars, found.sieve.left_out, told)
    return Inventory(tree, tuple(found.broken), dict(found.passed_over.most_common()))


def _called(name: str) -> str:
    """Say under what a file is counted that is no picture."""
    return "hidden" if _is_hidden(name) else escape_surrogates(kind_of(name)) or _NO_ENDING


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


@dataclass
class _Finds:
    folder: Path
    pictures: list[str] = field(default_factory=list)
    sidecars: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    has_tars: bool = False
    broken: list[Gap] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.sieve = Sieve(is_early=False, root=str(self.folder))

    def walk(self) -> Iterator[str]:
        """Give the relative posix paths of all files."""
        for parent, folders, files in os.walk(self.folder, onerror=self._miss):
            linked = {name for name in folders if os.path.islink(f"{parent}/{name}")}  # noqa: PTH114
            self.passed_over.update(["linked folder"] * len(linked))
            folders[:] = [name for name in folders if name not in linked]
            place = Path(parent).relative_to(self.folder).as_posix()
            prefix = "" if place == "." else f"{place}/"
            yield from (f"{prefix}{file}" for file in files)

    def _miss(self, error: OSError) -> None:
        path = str(error.filename)
        if path == str(self.folder):
            raise ManifestError(f"folder {quoted_path(path)} cannot be read: {error}") from error
        self.broken.append(Gap(path, f"the folder cannot be read: {error.strerror}"))

    def add(self, name: str) -> None:
        """Say what a file is."""
        is_hidden = _is_hidden(name)
        if not is_hidden and splitext(name)[1].lower() in self.sieve.endings:  # most files are, and need no look
            self.pictures.append(name)
        elif (head := self._look(name)) is None:
            pass
        elif (is_taken := self.sieve.takes_anyhow(name, head, is_hidden=is_hidden)) is not None:
            self.pictures += [name] * is_taken
        else:
            self.passed_over[_called(name)] += 1
            if not is_hidden:
                self._keep(name)

    def _look(self, name: str) -> bytes | None:
        """Read the first bytes of a file; None: there are none, and why is counted or told."""
        path = f"{self.folder}/{name}"
        try:
            with open_regular(path) as file:
                return file.read(HEAD_BYTES)
        except FileNotFoundError:
            self.passed_over["link to nothing"] += 1
        except OSError as error:
            if error.errno is None:
                self.passed_over["no regular file"] += 1
            else:
                self.broken.append(Gap(path, f"it cannot be read: {error.strerror}"))
        return None

    def _keep(self, name: str) -> None:
        """Remember a file that says something of pictures."""
        ending = kind_of(name)
        if ending in SIDECARS:
            self.sidecars.setdefault(stem_of(name), {})[ending] = name
        elif ending in TABLES:
            self.tables.append(name)
        self.has_tars |= ending == ".tar"
