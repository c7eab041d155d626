"""Ridge regression and linear discriminants from moments: the rows are read once, strengths are small algebra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from heads.errors import HeadsError
from heads.head.class_scores import Scores, gaussian_scores
from heads.head.moments import Moments

__all__ = ["discriminant_path", "ridge_path"]

_ROUNDING = 1e-14

Float64Array = NDArray[np.float64]


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
    for coef in _solve(total.scatter, [1 / strength for strength in strengths], products):
        yield coef.T, moments.counts / moments.n - mean @ coef


def discriminant_path(moments: Moments, strengths: Sequence[float]) -> Iterator[Scores]:
    """Return the `gaussian_scores` of each strength.

    The covariance within the classes is shrunk towards a multiple of the identity (Friedman 1989, eq. 18) as if
    ``1 / strength`` more rows had been seen that vary alike in every direction: scikit-learn's
    ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1 / (1 + strength * n))``.

    Parameters
    ----------
    moments : Moments
        Of standardised rows, grouped by class; each class has a row.
    strengths : sequence of float
    """
    n, centres = moments.n, moments.centres
    variance = float(np.trace(moments.scatter)) / n / centres.shape[1]
    # Rows that all sit on their class mean have no covariance: any will do, as no shrinkage changes its shape.
    ridges = [variance / strength or 1.0 for strength in strengths]
    for strength, solved in zip(strengths, _solve(moments.scatter, ridges, centres.T), strict=True):
        yield gaussian_scores(moments, (n + 1 / strength) * solved.T)


def _solve(scatter: Float64Array, ridges: Sequence[float], right: Float64Array) -> list[Float64Array]:
    """Solve ``(scatter + ridge I) x = right`` for every ridge.

    One orthogonal similarity makes the matrix tridiagonal, for all ridges alike: each then costs a multiple of its
    columns, where a factorisation of its own would cost their cube (Golub & Van Loan 2013, section 8.3.1).
    """
    varies = np.diagonal(scatter) > 0
    if not varies.all():
        # Exactly nothing, not what rounding makes of it: a weak ridge would magnify that.
        solved = np.zeros((len(ridges), *right.shape))
        if varies.any():
            solved[:, varies] = _solve(scatter[np.ix_(varies, varies)], ridges, right[varies])
        return list(solved)
    n, k = right.shape
    # No less than rounding hides: with fewer rows than columns a weak ridge alone would not be positive definite.
    least = _ROUNDING * float(np.trace(scatter))
    if n == 1:
        return [right / (scatter + max(ridge, least)) for ridge in ridges]
    matrix = scatter.T.copy(order="F")  # symmetric: in the order of the reduction without turning it round
    size = int(lapack.dsytrd_lwork(n, lower=1)[0])
    reduced, diagonal, beside, tau, _ = lapack.dsytrd(matrix, lower=1, lwork=size, overwrite_a=1)
    turned = right.copy(order="F")
    turned[1:] = _turn(reduced, tau, turned[1:], back=False)
    solved = np.empty((n, k * len(ridges)), order="F")
    for place, ridge in enumerate(ridges):
        *_, x, info = lapack.dptsv(diagonal + max(ridge, least), beside, turned)
        if info:
            raise HeadsError(f"the scatter of {n} columns with a ridge of {ridge:.3g} is not positive definite")
        solved[:, k * place : k * (place + 1)] = x
    solved[1:] = _turn(reduced, tau, solved[1:], back=True)
    return np.split(solved, len(ridges), axis=1)


def _turn(reduced: Float64Array, tau: Float64Array, right: Float64Array, *, back: bool) -> Float64Array:
    """Apply the reflections that ``dsytrd`` left below the diagonal, or their inverse."""
    reflections, right = np.asfortranarray(reduced[1:, :-1]), np.asfortranarray(right)
    direction = "N" if back else "T"
    _, size, _ = lapack.dormqr("L", direction, reflections, tau, right, -1)
    turned, _, _ = lapack.dormqr("L", direction, reflections, tau, right, int(size[0]))
    return np.asarray(turned)
