"""What content keys tell about a data set without another look at it: duplicates, leaks, contradictions, gaps.

And what the files give away besides their pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.orphans import Orphans
from featcache.cache.samples import UNREADABLE, SampleTable
from featcache.files.string_column import StringColumn
from featcache.identity.terms import SPLITS
from featcache.upkeep.tells import Tell, count_formats, find_tells

__all__ = ["Audit", "Example", "Finding", "audit"]

_EXAMPLES = 3
_SAMPLES_AN_EXAMPLE = 4


@dataclass(frozen=True)
class Example:
    """One content that several samples share.

    Attributes
    ----------
    sample_ids : tuple of str
        The first sample of each split or label in question, or just the first samples; at most four.
    values : tuple of str
        The split or label of each of them; empty strings where neither is in question.
    n_samples : int
        How many samples share it.
    """

    sample_ids: tuple[str, ...]
    values: tuple[str, ...]
    n_samples: int


@dataclass(frozen=True)
class Finding:
    """Contents that several samples share in some way.

    Attributes
    ----------
    n_contents, n_samples : int
        How many contents, and how many samples have one of them.
    examples : tuple of Example
        The first three that were found.
    """

    n_contents: int
    n_samples: int
    examples: tuple[Example, ...]

    def __bool__(self) -> bool:
        return self.n_contents > 0


@dataclass(frozen=True)
class Audit:
    """What is odd about a data set.

    Attributes
    ----------
    duplicates : Finding
        Pictures, equal byte for byte, that are under several sample ids.
    leaked_images, leaked_captions : Finding
        Pictures and captions that are in more than one split: scores on the later split are too good.
    conflicts : Finding
        Pictures whose samples have different known labels.
    n_without : mapping of content to int
        Samples that were never given a caption (``text``) or picture (``image``).
    n_unreadable : int
        Samples whose picture is there but could not be read.
    orphans : Orphans
        What was left out, and what of the source is missing because it is damaged or refused.
    formats : mapping of str to int, or None
        Samples by the format of their picture's file, ``unknown`` where it has no known header. None: the sample table
        is from before that was looked at.
    tells : tuple of Tell
        How well facts about the files alone tell real from AI, whether or not they give it away.
    """

    duplicates: Finding
    leaked_images: Finding
    leaked_captions: Finding
    conflicts: Finding
    n_without: dict[str, int]
    n_unreadable: int
    orphans: Orphans
    formats: dict[str, int] | None
    tells: tuple[Tell, ...]


def audit(table: SampleTable, orphans: Orphans | None = None) -> Audit:
    """Look at a sample table; no features and no pictures are read, a million rows take seconds."""
    split = np.full(len(table), -1, np.int64)
    for code, name in enumerate(SPLITS):
        split[table.split == name] = code
    image, text = table.content_numbers("image"), table.content_numbers("text")
    ordinal = np.arange(len(table))
    unreadable = table.image_status == UNREADABLE
    ids, name_split = table.sample_id, SPLITS.__getitem__
    return Audit(
        duplicates=_finding(ids, image, _differs(image, ordinal), ordinal, lambda _: ""),
        leaked_images=_finding(ids, image, _differs(image, split), split, name_split),
        leaked_captions=_finding(ids, text, _differs(text, split), split, name_split),
        conflicts=_conflicts(table, image),
        n_without={"text": int((~table.has("text")).sum()), "image": int((~table.has("image") & ~unreadable).sum())},
        n_unreadable=int(unreadable.sum()),
        orphans=orphans or Orphans(),
        formats=count_formats(table),
        tells=find_tells(table),
    )


def _differs(content: NDArray[np.int64], value: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Tell of each content whether its samples have more than one known value (from 0)."""
    known = np.flatnonzero((content >= 0) & (value >= 0))
    n_contents = int(content.max(initial=-1)) + 1
    low = np.full(n_contents, np.iinfo(np.int64).max)
    high = np.full(n_contents, -1, np.int64)
    np.minimum.at(low, content[known], value[known])
    np.maximum.at(high, content[known], value[known])
    return low < high


def _finding(
    sample_id: StringColumn,
    content: NDArray[np.int64],
    is_found: NDArray[np.bool_],
    value: NDArray[np.integer[Any]],
    name: Callable[[int], str],
) -> Finding:
    rows = np.flatnonzero(content >= 0)
    rows = rows[is_found[content[rows]]]
    _, first = np.unique(content[rows], return_index=True)
    examples = []
    for row in rows[np.sort(first)[:_EXAMPLES]].tolist():
        sharing = rows[content[rows] == content[row]]
        given = sharing[value[sharing] >= 0]
        shown = given[np.sort(np.unique(value[given], return_index=True)[1])][:_SAMPLES_AN_EXAMPLE].tolist()
        names = tuple(name(int(value[i])) for i in shown)
        examples.append(Example(tuple(sample_id[i] for i in shown), names, len(sharing)))
    return Finding(int(is_found.sum()), len(rows), tuple(examples))


def _conflicts(table: SampleTable, image: NDArray[np.int64]) -> Finding:
    """Find pictures of which one sample says real and another AI, or two say different generators."""
    names = (*table.class_names, "AI")
    label = np.where(table.label_a == 1, len(names) - 1, table.label_a).astype(np.int64)
    label = np.where(table.label_b >= 0, table.label_b, label)
    is_found = _differs(image, table.label_a) | _differs(image, table.label_b)
    return _finding(table.sample_id, image, is_found, label, names.__getitem__)
