"""The directions in which rows vary most, found in a few passes over blocks: no matrix of columns by columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from heads.data.row_source import RowSource
from heads.data.tasks import IntArray
from heads.head.protocol import FloatArray
from heads.head.scaling import Standardizer, draw_rows
from heads.head.threads import in_order

__all__ = ["Directions", "DrawnRows", "find_directions"]

Float64Array = NDArray[np.float64]

_BLOCK, _BLOCK_ROWS = 2**22, 1024  # values and rows that are held at a time
_SPARE, _ROUNDS = 16, 2


@dataclass(frozen=True)
class DrawnRows:
    """Rows of a source in certain views, read block by block.

    Attributes
    ----------
    source : RowSource
    rows, views : int array (n,)
        Number and view of each, the views ascending.
    """

    source: RowSource
    rows: IntArray
    views: IntArray

    @classmethod
    def draw(cls, source: RowSource, rows: IntArray, most: int, *, seed: int = 0) -> DrawnRows:
        """Draw at most so many of some rows (n,) at random, counting each view as one."""
        places = draw_rows(len(rows) * source.n_views, most, seed=seed)
        return cls(source, rows[places % len(rows)], places // len(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Yield float32 rows, (m, d), and their places; a block has one view."""
        step = max(1, min(_BLOCK_ROWS, _BLOCK // self.source.n_columns))
        ends = [0, *(np.flatnonzero(np.diff(self.views)) + 1).tolist(), len(self)]
        for first, last in pairwise(ends):
            for start in range(first, last, step):
                part = slice(start, min(start + step, last))
                yield part, self.source.read(self.rows[part], int(self.views[start])).astype(np.float32, copy=False)

    def standardizer(self) -> Standardizer:
        """Measure the columns of these rows, in two passes."""
        mean, squares = np.zeros(self.source.n_columns), np.zeros(self.source.n_columns)
        for _, X in self.blocks():
            mean += X.sum(axis=0, dtype=np.float64)
        mean /= len(self)
        for _, X in self.blocks():
            deviation = X - mean
            squares += np.einsum("ij,ij->j", deviation, deviation)
        return Standardizer.of_deviations(mean, np.sqrt(squares / len(self)))


@dataclass(frozen=True)
class Directions:
    """Standardised rows seen along few directions.

    Attributes
    ----------
    axes : float64 array (d, k)
        Orthonormal, largest variance of the standardised rows first.
    coordinates : float64 array (n, k)
        ``Z @ axes`` of the standardised rows.
    """

    axes: Float64Array
    coordinates: Float64Array


def find_directions(
    drawn: DrawnRows, scale: Standardizer, n_directions: int, *, columns: slice = slice(None), seed: int = 0
) -> Directions:
    """Find the directions of largest variance of the standardised rows.

    A random subspace, two rounds of subspace iteration and a Rayleigh–Ritz step (Halko, Martinsson & Tropp, "Finding
    structure with randomness", 2011, algorithms 4.4 and 5.1). Memory beside a block is a few times ``d * k`` numbers
    and the coordinates.

    Parameters
    ----------
    drawn : DrawnRows
        At least one row.
    scale : Standardizer
        Of all columns.
    n_directions : int
        At most; there are no more than columns or rows.
    columns : slice
        Those to look at; d is their number.
    seed : int
        Of the random subspace.
    """
    d, n = len(scale.mean[columns]), len(drawn)
    k = min(n_directions, d, n)
    width = min(d, k + _SPARE)

    def blocks(work: Callable[[FloatArray], FloatArray]) -> Iterator[FloatArray]:
        """Return what is made of the standardised rows of each block."""
        given = (X for _, X in drawn.blocks())
        return in_order(lambda X: work(scale.transform(X)[:, columns]), given, n_bytes=4 * width * (d + _BLOCK_ROWS))

    if width == d:
        basis = np.eye(d)
    else:
        basis = np.random.default_rng(seed).normal(size=(d, width))
        for _ in range(_ROUNDS):
            reached = np.zeros((d, width))
            narrow = np.linalg.qr(basis)[0].astype(np.float32)
            for found in blocks(partial(_reach, narrow=narrow)):
                reached += found
            basis = reached
        basis = np.linalg.qr(basis)[0]
    narrow = basis.astype(np.float32)
    seen = np.concatenate(list(blocks(lambda Z: Z if width == d else Z @ narrow)), dtype=np.float64)
    turn = np.linalg.eigh(seen.T @ seen)[1][:, ::-1][:, :k]
    return Directions(basis @ turn, seen @ turn)


def _reach(Z: FloatArray, narrow: FloatArray) -> FloatArray:
    """Return what rows make of directions (d, width): their scatter times these."""
    return Z.T @ (Z @ narrow)
