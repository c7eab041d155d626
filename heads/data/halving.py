"""Rows are halved by their classes: sets are dealt out evenly, then those are moved without which a half lacks one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

import numpy as np

from heads.data.dealing import deal
from heads.data.tasks import IntArray, Targets, Task

__all__ = ["halve"]


def halve(sets: IntArray, targets: Targets, *, tasks: Sequence[Task]) -> IntArray:
    """Return which half, 0 or 1, each set of rows is in.

    Both halves have every class of the first task that two sets or more have. Every class of a later task is in both
    unless no single set could be moved for it without a class being lost elsewhere.

    Parameters
    ----------
    sets : int array (n,)
        Number of each row's set, from 0 without gaps, in the order in which they are dealt out.
    targets : Targets
        Of the ``n`` rows.
    tasks : sequence of Task

    Returns
    -------
    int array (n_sets,)
    """
    held = _Held.count(sets, targets, tasks)
    full = np.zeros((2, held.n_columns), dtype=np.int64)
    half_of = deal(held.pieces(), full)
    n_first = 1 + len(tasks[0].classes)
    for guarded in (n_first, held.n_columns):
        for column in _lacking(held, half_of):
            if column < guarded:
                _share(held, half_of, column, guarded=guarded)
    return half_of


@dataclass(frozen=True)
class _Held:
    """What ``n_sets`` sets have: all rows (column 0), and rows of each class of each task, in ``m`` entries.

    Attributes
    ----------
    set_of, column : int array (m,)
        In the order of ``set_of``.
    amount : int array (m,)
        The share of the column's rows. In whole numbers: sums of floats differ between machines, and would divide
        rows otherwise there.
    n_sets, n_columns : int
    """

    set_of: IntArray
    column: IntArray
    amount: IntArray
    n_sets: int
    n_columns: int

    @classmethod
    def count(cls, sets: IntArray, targets: Targets, tasks: Sequence[Task]) -> _Held:
        n_columns = 1 + sum(len(task.classes) for task in tasks)
        cells, first = [sets * n_columns], 1
        for task in tasks:
            rows = targets.applies[task.name]
            cells.append(sets[rows] * n_columns + first + targets.y[task.name][rows])
            first += len(task.classes)
        found, n_rows = np.unique(np.concatenate(cells), return_counts=True)
        set_of, column = np.divmod(found, n_columns)
        totals = np.zeros(n_columns, dtype=np.int64)
        np.add.at(totals, column, n_rows)
        whole = isqrt(2**62 // n_columns)  # the largest of which sums of products fit into int64
        return cls(set_of, column, n_rows * (whole // totals[column]), int(sets.max()) + 1, n_columns)

    def pieces(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Return columns and amounts of each set."""
        starts = np.searchsorted(self.set_of, np.arange(self.n_sets + 1)).tolist()
        for start, end in pairwise(starts):
            yield self.column[start:end], self.amount[start:end]


def _lacking(held: _Held, half_of: IntArray) -> list[int]:
    """Return the columns that two sets or more have, and only one half."""
    n_sets = np.zeros((2, held.n_columns), dtype=np.int64)
    np.add.at(n_sets, (half_of[held.set_of], held.column), 1)
    return np.flatnonzero((n_sets.sum(axis=0) > 1) & (n_sets.min(axis=0) == 0)).tolist()


def _share(held: _Held, half_of: IntArray, column: int, *, guarded: int) -> None:
    """Move a set to the half that lacks a column, if one can be moved without a column below ``guarded`` being lost.

    Of those that can be moved it is the one after which the sum of squares is least.
    """
    holders = held.set_of[held.column == column]
    here, *others = {*half_of[holders].tolist()}
    if others:  # an earlier move has shared this column, too
        return
    is_here = half_of[held.set_of] == here
    n_here = np.bincount(held.column[is_here], minlength=held.n_columns)
    n_there = np.bincount(held.column[~is_here], minlength=held.n_columns)
    is_lost = (n_here == 1) & (n_there > 0)
    is_lost[guarded:] = False
    is_fixed = np.zeros(held.n_sets, dtype=np.bool_)
    is_fixed[held.set_of[is_here & is_lost[held.column]]] = True
    movable = holders[~is_fixed[holders]]
    if not len(movable):
        return
    excess = np.zeros(held.n_columns, dtype=np.int64)
    np.add.at(excess, held.column, np.where(is_here, -held.amount, held.amount))
    growth = np.zeros(held.n_sets, dtype=np.int64)
    np.add.at(growth, held.set_of, held.amount * (excess[held.column] + held.amount))
    half_of[movable[np.argmin(growth[movable])]] = 1 - here
