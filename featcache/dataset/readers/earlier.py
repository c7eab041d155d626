"""Labels in the names of folders by rules 1, as the first version read them: data sets that it read go on so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from featcache.dataset.readers.cells import quoted
from featcache.dataset.readers.words import SPLIT_NAMES
from featcache.errors import ManifestError
from featcache.identity.terms import UNKNOWN

__all__ = ["EarlierLayout"]

_REAL = frozenset(("real", "human", "natural", "nature"))
_AI = frozenset(("ai", "fake", "generated", "synthetic", "ai-generated"))


@dataclass(frozen=True)
class EarlierLayout:
    """How many leading folders mean something: a split, a class.

    If each picture is in a folder and every top folder is named like a split, the top folder gives the split, and the
    next one the class. Else, if a top folder is named like real pictures, the top folders give the class. A class that
    is not real and named like no AI pictures at large is a generator.
    """

    split_depth: int
    has_classes: bool

    @classmethod
    def of(cls, where: str, folders: Collection[tuple[str, ...]]) -> EarlierLayout:
        """Find out what the folders of all pictures mean.

        Raises
        ------
        ManifestError
            Split folders are beside other folders, and class folders for real pictures are among or in them.
        """
        tops = {parts[0].lower() if parts else "" for parts in folders}
        splits = tops & SPLIT_NAMES.keys()
        if splits == tops:
            return cls(split_depth=1, has_classes=True)
        has_real = bool(tops & _REAL)
        is_divided = any(
            len(parts) > 1 and parts[0].lower() in splits and parts[1].lower() in _REAL for parts in folders
        )
        if splits and (has_real or is_divided):
            others = sorted(tops - splits)[0]
            raise ManifestError(
                f"{where}: expected splits only or no splits on top, found "
                f"{quoted(sorted(splits)[0])} beside {quoted(others) if others else 'pictures'}"
            )
        return cls(split_depth=0, has_classes=has_real)

    def label(self, parts: tuple[str, ...]) -> tuple[str | None, int, str | None]:
        """Give split, label_a and label_b of the pictures in a folder."""
        split = SPLIT_NAMES[parts[0].lower()] if self.split_depth else None
        if not self.has_classes or len(parts) <= self.split_depth:
            return split, UNKNOWN, None
        label = parts[self.split_depth]
        if label.lower() in _REAL:
            return split, 0, "real"
        return split, 1, None if label.lower() in _AI else label
