"""Check a feature matrix and put its columns on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray
from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.head.protocol import FloatArray

__all__ = ["Standardizer", "check_features", "check_finite", "draw_rows"]

_CHUNK = 1024  # rows that are held in float64 at a time
_EPS = float(np.finfo(np.float32).eps)


def check_finite(values: NDArray[Any], what: str) -> None:
    """Refuse NaN and infinity, naming the count and the first row: nothing is ever replaced by a zero."""
    finite = np.isfinite(values)
    if not finite.all():
        n_bad = int(finite.size - np.count_nonzero(finite))
        row = int(np.argwhere(~finite)[0][0])
        raise HeadsError(f"{what} has {n_bad} values that are NaN or infinite, the first in row {row}")


def check_features(X: FloatArray, *, n_features: int | None = None, what: str = "X") -> None:
    """Refuse what is not a finite (n, d) float32 matrix.

    Parameters
    ----------
    X : float32 array (n, d)
    n_features : int, optional
        The ``d`` that the head was fitted on.
    what : str
        The name of the matrix in messages.
    """
    if X.ndim != 2 or X.shape[1] == 0:
        raise HeadsError(f"{what} has shape {X.shape!r}, expected (n_samples, n_features)")
    if X.dtype != np.float32:
        raise HeadsError(f"{what} is {X.dtype}, expected float32: cast it where the features are read")
    if n_features is not None and X.shape[1] != n_features:
        raise HeadsError(f"{what} has {X.shape[1]} columns, head was fitted on {n_features}")
    check_finite(X, what)


def draw_rows(n_rows: int, most: int, *, seed: int) -> IntArray:
    """Return at most so many of the numbers of rows, drawn at random, ascending: rows to measure columns on.

    Not every n-th row: data sets list their classes in turn, so that some would be missed.
    """
    return np.sort(np.random.default_rng(seed).permutation(n_rows)[:most])


@dataclass(frozen=True)
class Standardizer:
    """Subtract each column's mean and divide by its standard deviation, both of the training rows.

    Attributes
    ----------
    mean, inverse_scale : float64 array (d,)
        ``inverse_scale`` is 0 for a column that is constant in training (up to float32 rounding): such a
        column teaches nothing, so whatever it holds later becomes 0 rather than reaching weights that never
        trained.
    """

    mean: NDArray[np.float64]
    inverse_scale: NDArray[np.float64]

    @classmethod
    def fit(cls, X: FloatArray) -> Self:
        """Measure the columns of ``X`` (n, d) in float64, in two passes; the variance is the population's."""
        if len(X) == 0:
            raise HeadsError("X has no rows, expected at least one to standardise with")
        mean = X.mean(axis=0, dtype=np.float64)
        squares = np.zeros_like(mean)
        for start in range(0, len(X), _CHUNK):
            deviation = X[start : start + _CHUNK] - mean
            squares += np.einsum("ij,ij->j", deviation, deviation)
        return cls.of_deviations(mean, np.sqrt(squares / len(X)))

    @classmethod
    def of(cls, moments: Moments) -> Self:
        """Take the columns' means and deviations from the moments of one group of rows."""
        return cls.of_deviations(moments.means[0].copy(), np.sqrt(np.diag(moments.scatter) / moments.n))

    @classmethod
    def of_deviations(cls, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Self:
        """Take the columns' means and deviations (d,), however they were measured; the mean is not copied."""
        varies = std > _EPS * np.abs(mean)
        inverse_scale = np.divide(1.0, std, out=np.zeros_like(std), where=varies)
        mean.setflags(write=False)
        inverse_scale.setflags(write=False)
        return cls(mean, inverse_scale)

    def transform(self, X: FloatArray) -> FloatArray:
        """Return the standardised copy of ``X`` (n, d), worked out in float64 and rounded once to float32.

        Raises
        ------
        HeadsError
            If a row lies so far from the training rows that float32 overflows.
        """
        out = np.empty(X.shape, dtype=np.float32)
        with np.errstate(over="ignore"):
            for start in range(0, len(X), _CHUNK):
                rows = slice(start, start + _CHUNK)
                out[rows] = (X[rows] - self.mean) * self.inverse_scale
        check_finite(out, "standardised X")
        return out
