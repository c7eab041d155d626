"""Resamples of groups, and what the rows of groups add up to under many weightings at once.

A figure is resampled without a second look at the rows: each group counts as often as it was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.errors import HeadsError

__all__ = [
    "GroupSums",
    "cut_weights",
    "draw_weights",
    "iterate_weights",
    "join_weightings",
    "resample",
    "standard_error",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Measure = Callable[[FloatArray], Mapping[str, FloatArray]]

_CHUNK_BYTES = 2 << 20  # what a core keeps at hand


@dataclass(frozen=True)
class GroupSums:
    """Sums of a value over the rows of each group in each cell; only those of rows that there are.

    Attributes
    ----------
    groups : int array (n_sums,)
        The group of each sum, cell by cell.
    values : float64 array (n_sums,)
    cells : int array (n_filled,)
        Cells that have rows, rising.
    starts : int array (n_filled,)
        The first sum of each of them.
    n_cells : int
    """

    groups: IntArray
    values: FloatArray
    cells: IntArray
    starts: IntArray
    n_cells: int

    @classmethod
    def build(cls, cells: IntArray, groups: IntArray, values: FloatArray | None = None, *, n_cells: int) -> GroupSums:
        """Add up rows.

        Parameters
        ----------
        cells, groups : int array (n,)
            Numbers from 0.
        values : float64 array (n,), optional
            1 each by default: rows are counted.
        n_cells : int
        """
        n_groups = int(groups.max(initial=0)) + 1
        keys, place = np.unique(cells * n_groups + groups, return_inverse=True)
        sums = np.bincount(place, weights=values, minlength=len(keys)).astype(np.float64)
        filled, starts = np.unique(keys // n_groups, return_index=True)
        return cls(keys % n_groups, sums, filled, starts.astype(np.int64), n_cells)

    @property
    def entry_cells(self) -> IntArray:
        """The cell of each sum: (n_sums,)."""
        return np.repeat(self.cells, np.diff(np.append(self.starts, len(self.groups))))

    def weigh(self, weights: FloatArray) -> FloatArray:
        """Return each cell's sum under each weighting of the groups: weights (n, n_groups) → (n, n_cells)."""
        found = np.zeros((len(weights), self.n_cells))
        if len(self.starts):
            for rows in cut_weights(len(weights), len(self.groups)):
                drawn = np.take(weights[rows], self.groups, axis=1)
                drawn *= self.values
                found[rows, self.cells] = np.add.reduceat(drawn, self.starts, axis=1)
        return found


def draw_weights(n_groups: int, *, n_resamples: int = 2000, seed: int = 0) -> FloatArray:
    """Draw how often each group occurs in each resample of as many groups, with replacement: (n_resamples, n_groups).

    The plain cluster bootstrap (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).
    """
    return np.concatenate(list(iterate_weights(n_groups, n_resamples=n_resamples, seed=seed)))


def iterate_weights(n_groups: int, *, n_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield what `draw_weights` returns a few resamples at a time, so that many groups need little memory."""
    if n_groups < 2:
        raise HeadsError(f"there is {n_groups} group of rows to resample, expected two or more")
    rng = np.random.default_rng(seed)
    for rows in cut_weights(n_resamples, n_groups):
        weights = np.empty((rows.stop - rows.start, n_groups))
        for row in weights:
            row[:] = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
        yield weights


def cut_weights(n_weightings: int, width: int) -> Iterator[slice]:
    """Yield slices of ``n_weightings``, each of so few that float64 arrays of ``width`` columns stay at 2 MiB."""
    step = max(1, _CHUNK_BYTES // (8 * max(1, width)))
    for start in range(0, n_weightings, step):
        yield slice(start, min(start + step, n_weightings))


def resample(measure: Measure, n_groups: int, *, n_resamples: int = 500, seed: int = 0) -> dict[str, FloatArray]:
    """Return figures on the rows as they are, and then on each resample.

    Parameters
    ----------
    measure : callable
        Figures by name, each (n, …), of weights (n, n_groups). NaN where a figure is undefined. What is to be compared
        is measured together, or with the same ``seed``: on the same resamples.
    n_groups : int
        With one group there is nothing to resample, and each figure has its first row only.
    n_resamples : int
    seed : int

    Returns
    -------
    dict of str to float64 array (1 + n_resamples, …)
    """
    parts = [measure(np.ones((1, n_groups)))]
    if n_groups > 1:
        parts += [measure(weights) for weights in iterate_weights(n_groups, n_resamples=n_resamples, seed=seed)]
    return join_weightings(parts)


def join_weightings(parts: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """Put figures together that were measured for some weightings at a time."""
    first, *others = parts
    return {name: np.concatenate([values, *(part[name] for part in others)]) for name, values in first.items()}


def standard_error(resampled: FloatArray) -> float:
    """Return the standard deviation of a figure over its resamples (n,); NaN where fewer than two know it."""
    known = resampled[~np.isnan(resampled)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")
