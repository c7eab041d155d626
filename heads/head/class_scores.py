"""Scores of classes that are linear in the columns: of Gaussians, and what makes scores probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray
from heads.head.moments import Moments
from heads.head.protocol import FloatArray

__all__ = ["Scores", "calibrate", "fit_factor", "gaussian_scores"]

_LOG_TOLERANCE = 1e-3
_LOG_FACTOR = (-8.0, 8.0)

Float64Array = NDArray[np.float64]
Scores = tuple[Float64Array, Float64Array]
"""Coefficients (k, d) and intercepts (k,), one a class."""


def gaussian_scores(moments: Moments, coef: Float64Array, *, has_priors: bool = True) -> Scores:
    """Return the log posteriors, up to a constant, of Gaussians with a common covariance.

    Parameters
    ----------
    moments : Moments
        Grouped by class; each class has a row.
    coef : float64 array (k, d)
        For each class the inverse covariance times what its mean is away from the mean of all rows.
    has_priors : bool
        Whether priors are the shares of the rows; else all classes have the same.
    """
    middle = moments.means - moments.centres / 2
    intercept = -(middle * coef).sum(axis=1)
    if has_priors:
        intercept += np.log(moments.counts / moments.n)
    return coef, intercept


def fit_factor(scores: Float64Array, y: IntArray, weights: Float64Array | None = None) -> float:
    """Return the number by which scores (n, k) have to be multiplied for the lowest log loss as a softmax.

    The inverse of a temperature. It keeps the order of the classes in every row: it changes how sure the
    probabilities are, not what they say (Guo, Pleiss, Sun & Weinberger 2017, section 4.2).
    """
    from scipy.optimize import minimize_scalar  # half a second, which only a fit has to spend

    # What is taken from all scores of a row changes no softmax: with the largest at 0 no factor overflows.
    below = scores - scores.max(axis=1, keepdims=True)
    true = float(np.average(below[np.arange(len(y)), y], weights=weights))

    def loss(log_factor: float) -> float:
        factor = np.exp(log_factor)
        return float(np.average(np.log(np.exp(factor * below).sum(axis=1)), weights=weights) - factor * true)

    found = minimize_scalar(loss, bounds=_LOG_FACTOR, method="bounded", options={"xatol": _LOG_TOLERANCE})
    return float(np.exp(found.x))


def calibrate(
    path: Iterable[Scores],
    present: IntArray,
    X: FloatArray,
    y: IntArray,
    *,
    weights: Float64Array | None = None,
) -> Iterator[tuple[Scores, float]]:
    """Make scores logits with a factor from the select rows; without such rows they are logits as they are.

    Parameters
    ----------
    path : iterable of Scores
        Of the classes that are present.
    present : int array (k,)
        The classes that occur in training, ascending.
    X : float32 array (m, d)
        Standardised select rows; ``y`` (m,) has their classes.
    weights : float64 array (m,), optional
        By which the losses of these rows are multiplied.

    Yields
    ------
    scores : Scores
        Times the factor.
    factor : float
        The inverse temperature.
    """
    known = np.isin(y, present)
    X, y = X if known.all() else X[known], np.searchsorted(present, y[known])
    weights = None if weights is None else weights[known]
    fits = list(path)
    stacked = np.concatenate([coef for coef, _ in fits]).astype(np.float32)
    for (coef, intercept), scores in zip(fits, np.split(X @ stacked.T, len(fits), axis=1), strict=True):
        factor = fit_factor(scores + intercept, y, weights) if len(y) else 1.0
        yield (factor * coef, factor * intercept), factor
