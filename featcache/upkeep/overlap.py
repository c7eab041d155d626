"""What the data sets of one cache have in common: pictures and captions of the one that are in the other too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from featcache.cache.samples import SampleTable
from featcache.identity.key_index import number_keys
from featcache.identity.terms import Content

__all__ = ["Overlap", "find_overlaps"]


@dataclass(frozen=True)
class Overlap:
    """Contents that two data sets share.

    Attributes
    ----------
    datasets : tuple of two str
        Names of the two data sets.
    modality : {"image", "text"}
        Pictures, equal byte for byte, or captions.
    n_contents : int
        Contents that both have.
    n_leaks : int
        How many of them one has in its test part and the other in its train or valid part: who trains on the one and
        tests on the other gets scores that are too good.
    sample_ids : tuple of two str
        A sample of each with the first of these contents, one that leaks if any does.
    """

    datasets: tuple[str, str]
    modality: Content
    n_contents: int
    n_leaks: int
    sample_ids: tuple[str, str]


def find_overlaps(tables: Sequence[SampleTable]) -> tuple[Overlap, ...]:
    """Look for contents that several data sets share; no features and no pictures are read.

    Returns
    -------
    tuple of Overlap
        One for captions and one for pictures of each pair of data sets that shares any.
    """
    contents: tuple[Content, ...] = ("image", "text")
    pairs = [_overlap(one, other, content) for one, other in combinations(tables, 2) for content in contents]
    return tuple(overlap for overlap in pairs if overlap is not None)


def _overlap(one: SampleTable, other: SampleTable, content: Content) -> Overlap | None:
    both = (one, other)
    keys = np.concatenate([table.keys(content) for table in both])
    numbers = number_keys(keys, np.concatenate([table.has(content) for table in both]))
    parts = np.split(numbers, [len(one)])
    is_in, is_tested, is_fitted = (np.zeros((2, int(numbers.max(initial=-1)) + 1), bool) for _ in range(3))
    for i, (table, own) in enumerate(zip(both, parts, strict=True)):
        is_in[i, own[own >= 0]] = True
        is_tested[i, own[(own >= 0) & (table.split == "test")]] = True
        is_fitted[i, own[(own >= 0) & np.isin(table.split, ("train", "valid"))]] = True
    is_shared = is_in[0] & is_in[1]
    leaks = (is_tested[0] & is_fitted[1]) | (is_tested[1] & is_fitted[0])
    if not is_shared.any():
        return None
    shown = leaks if leaks.any() else is_shared
    rows = np.flatnonzero(parts[0] >= 0)
    first = parts[0][rows[shown[parts[0][rows]]][0]]
    ids = [table.sample_id[int((own == first).argmax())] for table, own in zip(both, parts, strict=True)]
    return Overlap((one.dataset, other.dataset), content, int(is_shared.sum()), int(leaks.sum()), (ids[0], ids[1]))
