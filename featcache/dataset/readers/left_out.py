"""What looks like a picture and is not taken: counted and named, never an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from posixpath import splitext

from featcache.files.picture_formats import (
    ENDINGS,
    HEAD_BYTES,
    HEIF,
    HEIF_ADVICE,
    PICTURE_FORMATS,
    UNREAD_ENDINGS,
    format_of_bytes,
    has_heif,
    open_endings,
)
from featcache.files.regular import open_regular

__all__ = ["EARLY_ENDINGS", "Gap", "LeftOut", "Sieve", "kind_of", "read_head"]

EARLY_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
"""Those that the first version took: data sets that it read go on with them."""
_EARLY = "not read into this cache by an earlier version, another --name takes them"
_DECODED = ", ".join(each.name for each in PICTURE_FORMATS if each.name != "MPO")  # that is JPEG to people
_UNREAD = f"of a kind that is not decoded ({_DECODED} are): convert to PNG or JPEG"
_MISNAMED = "pictures by their first bytes, their endings are those of none: rename them"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that the data name, or have, and of which there is no sample.

    Attributes
    ----------
    path : str
        Where it is or should be, in full; of a part of a tar, the tar and its name there.
    message : str
        One sentence.
    """

    path: str
    message: str


@dataclass(frozen=True)
class LeftOut:
    """Pictures that are not taken for one reason.

    Attributes
    ----------
    reason : str
        Why, and what to do about it.
    names : tuple of str
        Of all of them, as the data have them.
    root : str
        The folder below which the names are.
    """

    reason: str
    names: tuple[str, ...]
    root: str


def kind_of(name: str) -> str:
    """Return the ending of a name, in lower case with the dot; ``""`` for none, which numbers are not either."""
    ending = splitext(name)[1].lower()
    return ending if re.search("[a-z]", ending) else ""


def read_head(path: str) -> bytes:
    """Read the first bytes of a regular file; none of what is no such file, or cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


@dataclass
class Sieve:
    """Tells pictures that are taken from those that are not, by their endings, and keeps account of the latter.

    Attributes
    ----------
    is_early : bool
        Whether only the endings of the first version are taken.
    root : str
        The folder below which all names are.
    endings : frozenset of str
        Those that are taken.
    """

    is_early: bool
    root: str
    _found: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.endings = EARLY_ENDINGS if self.is_early else open_endings()

    def takes(self, name: str) -> bool | None:
        """Say whether a file is a picture that is taken, by its ending; None: the ending does not tell.

        A picture that is not taken is left out here.
        """
        ending = kind_of(name)
        if ending in self.endings:
            return True
        if ending in ENDINGS:
            self.leave(name, _EARLY if ending in open_endings() else HEIF_ADVICE)
        elif ending in UNREAD_ENDINGS:
            self.leave(name, _UNREAD)
        else:
            return None
        return False

    def takes_bytes(self, name: str, head: bytes) -> bool:
        """Say whether a file whose ending does not tell is a picture that is taken, by its first bytes.

        That is so if it has no ending; another one is left out here.
        """
        format = format_of_bytes(head)
        if format is None:
            return False
        is_heif_unread = format == "HEIF" and ".heic" not in open_endings()
        if self.is_early or kind_of(name) or is_heif_unread:
            self.leave(name, HEIF_ADVICE if is_heif_unread else _MISNAMED if kind_of(name) else _EARLY)
            return False
        return True

    def takes_anyhow(self, name: str, head: bytes, *, is_hidden: bool = False) -> bool | None:
        """Say whether a file is a picture that is taken, whatever it is called; None: it is none.

        One that begins as none is left out if it is called as what is not decoded, unless it is hidden.
        """
        format, ending = format_of_bytes(head), kind_of(name)
        if format == "TIFF" and ending in UNREAD_ENDINGS:  # as raw pictures begin, of which it shows a thumbnail
            self.leave(name, _UNREAD)
        elif format == HEIF and not has_heif():
            self.leave(name, HEIF_ADVICE)
        elif format is not None:
            return True
        elif ending in ENDINGS | UNREAD_ENDINGS and not is_hidden:
            return self.takes(name)
        else:
            return None
        return False

    def leave(self, name: str, reason: str) -> None:
        """Count a picture among those that are not taken."""
        self._found.setdefault(reason, []).append(name)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """All that were not taken, by reason."""
        return tuple(LeftOut(reason, tuple(names), self.root) for reason, names in self._found.items())
