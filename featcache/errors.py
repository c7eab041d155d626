"""The errors that featcache raises on purpose: everything else is a bug."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Self

__all__ = [
    "FeatcacheError",
    "FingerprintMismatch",
    "ImageError",
    "ManifestError",
    "ModelError",
    "ShardError",
    "did_you_mean",
]


class FeatcacheError(Exception):
    """Something that a person can put right: the message says what was expected, what was found, and where."""


class ManifestError(FeatcacheError):
    """The list of samples breaks its own rules."""


class ModelError(FeatcacheError):
    """A model folder or hub id cannot serve as the encoder that was asked for."""


class ImageError(FeatcacheError):
    """One picture cannot be decoded within the limits; extraction records it and goes on."""


class ShardError(FeatcacheError):
    """A file of the cache is not what its contract says.

    Attributes
    ----------
    home : Path or None
        Where the file belongs by its own word, if it is whole and in the place of another.
    """

    home: Path | None = None

    @classmethod
    def damaged(cls, what: str) -> Self:
        """Say of something damaged what to do about it."""
        return cls(f"{what}; `featcache repair` moves it aside")

    @classmethod
    def of_version(cls, what: str, found: object, known: int) -> Self:
        """Refuse a format version; one that is no number is damage."""
        message = f"{what} has format version {found!r}, this program reads {known}"
        return cls(message) if isinstance(found, int) else cls.damaged(message)

    @classmethod
    def misplaced(cls, what: str, home: Path | None = None) -> Self:
        """Say the same of something whole that is in the place of another."""
        where = "aside" if home is None else "where it belongs, or aside"
        found = cls(f"{what}: it was moved or swapped; `featcache repair` moves it {where}")
        found.home = home
        return found


class FingerprintMismatch(FeatcacheError):
    """Features come from another producer than the one that was asked for."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """End a message about a name that is not known: ``; did you mean 'x'?``, or nothing where none comes close."""
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(given.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""
