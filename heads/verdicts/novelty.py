"""How unlike its training rows a head finds a row: a distance along few directions, and its p-value.

The distance is Mahalanobis' to the nearest mean of a class, with one covariance for all classes (Lee, Lee, Lee & Shin,
"A simple unified framework for detecting out-of-distribution samples", 2018). Its p-value is the conformal one: how
often a row that the description was not made of, from a group of its own, is as far away (Bates, Candès, Lei, Romano &
Sesia, "Testing for outliers with conformal p-values", 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.row_source import RowSource
from heads.data.tasks import BoolArray, IntArray
from heads.head.protocol import FloatArray
from heads.head.subspace import DrawnRows, find_directions

__all__ = ["LEAST_HELD_OUT", "MAX_AXES", "MAX_VALUES", "NOVEL_UP_TO", "Novelty", "describe", "one_a_group"]

NOVEL_UP_TO = 0.01
"""P-values of rows that are called unlike the training rows."""
LEAST_HELD_OUT = 99
"""Fewer held-out rows cannot give a p-value of `NOVEL_UP_TO`."""
MAX_AXES, MAX_VALUES = 64, 3 * 2**19
"""Directions, and numbers in all of them: 6 MiB in float32."""
_DRAWN = 8192
_ROWS_AN_AXIS = 4
_LEAST_CLASS = 8  # a mean of fewer rows would say much of each
_BLOCK = 2**21
_ROUNDING = 1e-10

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Novelty:
    """What is kept of training rows: no vector of any of them.

    Attributes
    ----------
    axes : float32 array (d, k)
        ``X @ axes`` has unit covariance within the classes of training.
    centres : float32 array (c, k)
        Where the means of classes lie there.
    held_out : float32 array (n,)
        Distances of held-out rows, ascending.
    """

    axes: FloatArray
    centres: FloatArray
    held_out: FloatArray

    @property
    def can_be_novel(self) -> bool:
        """Whether there are enough held-out rows for a p-value of `NOVEL_UP_TO`."""
        return len(self.held_out) >= LEAST_HELD_OUT

    def measure(self, X: NDArray[Any]) -> FloatArray:
        """Return the distance of rows (n, d) to the nearest centre, squared: float32 (n,)."""
        axes, centres = self.axes.astype(np.float64), self.centres.astype(np.float64)
        found = np.empty(len(X), dtype=np.float32)
        step = max(1, _BLOCK // max(X.shape[1], 1))
        for start in range(0, len(X), step):
            seen = X[start : start + step].astype(np.float64) @ axes
            nearest = np.full(len(seen), np.inf)
            for centre in centres:
                away = seen - centre
                np.minimum(nearest, np.einsum("ij,ij->i", away, away), out=nearest)
            found[start : start + step] = np.minimum(nearest, np.finfo(np.float32).max)
        return found

    def p_value(self, X: NDArray[Any]) -> Float64Array:
        """Return (1 + held-out rows at least as far away) / (n + 1) of each row (n,)."""
        at_least = len(self.held_out) - np.searchsorted(self.held_out, self.measure(X), "left")
        return np.asarray((1 + at_least) / (len(self.held_out) + 1), dtype=np.float64)


def describe(source: RowSource, rows: IntArray, classes: IntArray, held_out: IntArray, *, seed: int = 0) -> Novelty:
    """Describe training rows, in all views of the source, and measure held-out rows in the first view.

    Parameters
    ----------
    source : RowSource
    rows : int array (n,)
        The training rows, of which at most 8192 are drawn, counting each view as one.
    classes : int array (n_rows of the source,)
        0 real, 1 AI by an unknown generator, 2 + k generator k. Generators with few rows count as unknown.
    held_out : int array
        Rows that nothing was fitted on, one a group.
    seed : int
        Of what is drawn.
    """
    drawn = DrawnRows.draw(source, rows, _DRAWN, seed=seed)
    most = min(MAX_AXES, MAX_VALUES // source.n_columns, max(1, len(drawn) // _ROWS_AN_AXIS))
    scale = drawn.standardizer()
    found = find_directions(drawn, scale, most, seed=seed)
    own, used = _merge_classes(classes[drawn.rows])
    coordinates, own = found.coordinates[used], own[used]
    counts = np.bincount(own)
    means = np.stack([np.bincount(own, weights=column) / counts for column in coordinates.T], axis=1)
    whiten = _whiten(coordinates - means[own])
    axes = ((scale.inverse_scale[:, None] * found.axes) @ whiten).astype(np.float32)
    # What the mean of all rows is along the rounded axes: distances are then exact of what is kept.
    centres = (means @ whiten + scale.mean @ axes.astype(np.float64)).astype(np.float32)
    novelty = Novelty(axes, centres, np.empty(0, np.float32))
    step = max(1, _BLOCK // source.n_columns)
    measured = [novelty.measure(source.read(held_out[i : i + step])) for i in range(0, len(held_out), step)]
    return Novelty(axes, centres, np.sort(np.concatenate([*measured, np.empty(0, np.float32)])))


def one_a_group(groups: IntArray, *, seed: int = 0) -> IntArray:
    """Draw one row of each group: their places, ascending."""
    order = np.random.default_rng(seed).permutation(len(groups))
    return np.sort(order[np.unique(groups[order], return_index=True)[1]])


def _merge_classes(classes: IntArray) -> tuple[IntArray, BoolArray]:
    """Return the class of each row, from 0, and which rows are of a class with enough rows for a mean."""
    counts = np.bincount(classes, minlength=2)
    merged = np.where((classes >= 2) & (counts[classes] < _LEAST_CLASS), 1, classes)
    used: BoolArray = np.bincount(merged, minlength=2)[merged] >= _LEAST_CLASS
    if not used.any():
        return np.zeros(len(classes), dtype=np.int64), np.ones(len(classes), dtype=np.bool_)
    own = np.zeros(len(classes), dtype=np.int64)
    own[used] = np.unique(merged[used], return_inverse=True)[1].reshape(-1)
    return own, used


def _whiten(deviations: Float64Array) -> Float64Array:
    """Return what gives deviations (n, k) unit covariance: (k, k).

    The covariance is shrunk towards a multiple of the identity as far as its errors ask for (Ledoit & Wolf, "A
    well-conditioned estimator for large-dimensional covariance matrices", 2004, section 3.3).
    """
    n, k = deviations.shape
    covariance = deviations.T @ deviations / n
    level = float(np.trace(covariance)) / k
    spread = float(((covariance - level * np.eye(k)) ** 2).sum())
    errors = (float((np.einsum("ij,ij->i", deviations, deviations) ** 2).mean()) - float((covariance**2).sum())) / n
    share = min(max(errors / spread, 0.0), 1.0) if spread > 0 else 1.0
    values, vectors = np.linalg.eigh(share * level * np.eye(k) + (1 - share) * covariance)
    keeps = values > _ROUNDING * max(level, np.finfo(np.float64).tiny)
    return np.asarray(vectors * np.where(keeps, 1 / np.sqrt(np.where(keeps, values, 1.0)), 0.0))
