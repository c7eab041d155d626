"""Ridge regression and linear discriminants from moments: the rows are read once, strengths are small algebra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from heads.moments import Moments
from heads.tasks import IntArray

__all__ = ["Scores", "discriminant_path", "fit_factor", "ridge_path", "shrinkage_of"]

_ROUNDING = 1e-14
_LOG_TOLERANCE = 1e-3
_LOG_FACTOR = (-8.0, 8.0)

Float64Array = NDArray[np.float64]
Scores = tuple[Float64Array, Float64Array]
"""Coefficients (k, d) and intercepts (k,), one a class."""


def ridge_path(moments: Moments, strengths: Sequence[float]) -> Iterator[Scores]:
    """Regress the indicator of each class on the columns, with a free intercept.

    Minimises the squared errors plus ``|coef|^2 / strength``: scikit-learn's ``Ridge`` with ``alpha = 1 / strength``
    on one-hot targets, which is ``RidgeClassifier`` (Hoerl & Kennard 1970, eq. 2.1).

    Parameters
    ----------
    moments : Moments
        Of standardised rows, grouped by class; each class has a row.
    strengths : sequence of float
    """
    total = moments.merge()
    mean = total.means[0]
    products = (moments.counts[:, None] * (moments.means - mean)).T
    for strength in strengths:
        coef = _solve(total.scatter, 1 / strength, products)
        yield coef.T, moments.counts / moments.n - mean @ coef


def discriminant_path(moments: Moments, strengths: Sequence[float]) -> Iterator[Scores]:
    """Return the log posteriors, up to a constant, of Gaussians with a common covariance.

    The covariance within the classes is shrunk towards a multiple of the identity (Friedman 1989, eq. 18) as if
    ``1 / strength`` more rows had been seen that vary alike in every direction: scikit-learn's
    ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage_of(strength, n))``. Priors are those of the rows.

    Parameters
    ----------
    moments : Moments
        Of standardised rows, grouped by class; each class has a row.
    strengths : sequence of float
    """
    n, mean = moments.n, moments.merge().means[0]
    centres = moments.means - mean
    variance = float(np.trace(moments.scatter)) / n / len(mean)
    for strength in strengths:
        # Rows that all sit on their class mean have no covariance: any will do, as no shrinkage changes its shape.
        ridge = variance / strength or 1.0
        coef = (n + 1 / strength) * _solve(moments.scatter, ridge, centres.T).T
        intercept = np.log(moments.counts / n) - ((centres / 2 + mean) * coef).sum(axis=1)
        yield coef, intercept


def shrinkage_of(strength: float, n: int) -> float:
    """Return the share of the identity in the covariance of `discriminant_path`."""
    return 1 / (1 + strength * n)


def fit_factor(scores: Float64Array, y: IntArray) -> float:
    """Return the number by which scores (n, k) have to be multiplied for the lowest log loss as a softmax.

    The inverse of a temperature. It keeps the order of the classes in every row: it changes how sure the
    probabilities are, not what they say (Guo, Pleiss, Sun & Weinberger 2017, section 4.2).
    """

    def loss(log_factor: float) -> float:
        return -float(np.take_along_axis(log_softmax(np.exp(log_factor) * scores, axis=1), y[:, None], 1).mean())

    found = minimize_scalar(loss, bounds=_LOG_FACTOR, method="bounded", options={"xatol": _LOG_TOLERANCE})
    return float(np.exp(found.x))


def _solve(scatter: Float64Array, ridge: float, right: Float64Array) -> Float64Array:
    matrix = scatter.T.copy(order="F")  # symmetric: in the order of the factorisation without turning it round
    # No less than rounding hides: with fewer rows than columns a weak ridge alone would not be positive definite.
    matrix[np.diag_indices_from(matrix)] += max(ridge, _ROUNDING * float(np.trace(matrix)))
    factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, right, check_finite=False))
