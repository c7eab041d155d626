"""Sets of rows are dealt out to parts: the largest first, each to the part that is shortest of what the set has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray

__all__ = ["deal", "rank_sets"]

_Number = TypeVar("_Number", np.float64, np.int64)


def rank_sets(sets: IntArray, names: Sequence[str]) -> IntArray:
    """Number sets of rows anew: the largest is 0; those of one size go by sha256 of the smallest name in them.

    Parameters
    ----------
    sets : int array (n,)
        Number of each row's set, from 0 without gaps.
    names : sequence of str, n of them
        Of the rows. Sets of one size and one name stay in their order.
    """
    smallest: dict[int, str] = {}
    for number, name in zip(sets.tolist(), names, strict=True):
        smallest[number] = min(smallest.get(number, name), name)
    sizes = np.bincount(sets).tolist()
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], hashlib.sha256(smallest[i].encode()).digest()))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    ranked: IntArray = rank[sets]
    return ranked


def deal(pieces: Iterable[tuple[slice | IntArray, NDArray[_Number]]], full: NDArray[_Number]) -> IntArray:
    """Give each piece to the part where the sum of squares over all parts and columns grows least: the first of these.

    Parameters
    ----------
    pieces : iterable of (columns, amounts)
        What each has, and in which columns.
    full : array (n_parts, n_columns)
        What the parts have before; it is added to.

    Returns
    -------
    int array
        The part of each piece.
    """
    chosen = []
    for columns, amounts in pieces:
        part = int(np.argmin(full[:, columns] @ amounts))
        full[part, columns] += amounts
        chosen.append(part)
    return np.array(chosen, dtype=np.int64)
