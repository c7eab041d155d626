"""Samples that are called by the names of their files, and what they are called when something is drawn by name."""

from __future__ import annotations

from collections.abc import Iterable

from featcache.cache.samples import SampleTable
from featcache.files.picture_formats import without_ending

__all__ = ["draw_names", "has_file_names"]


def has_file_names(table: SampleTable) -> bool:
    """Whether the samples are called by the paths of their pictures below the folder that they were read from.

    The first version called them so without the ending, by which splits and sets of rows go on being drawn. A picture
    with several captions gives samples ``1.jpg#0``, ``1.jpg#1``, …; before rules 3, tables alone had such.
    """
    if table.rules == 1 or not len(table):
        return False
    name = table.sample_id[0]
    picture, _, caption = name.rpartition("#")
    names = (name, picture) if table.rules > 2 and caption.isdecimal() else (name,)
    return any(table.source[0] == f"{table.origin}/{each}" for each in names)


def draw_names(sample_ids: Iterable[str]) -> list[str]:
    """Return by which names samples that are called by files are drawn: a picture stays in its split as a PNG, too."""
    return [without_ending(name) for name in sample_ids]
