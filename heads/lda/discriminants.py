"""Linear discriminants whose covariance takes in how views of a picture differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from heads.errors import HeadsError
from heads.head.class_scores import Scores, gaussian_scores
from heads.head.moments import Moments

__all__ = ["invariant_scores"]


def invariant_scores(
    moments: Moments,
    differences: NDArray[np.float64] | None,
    *,
    gamma: float,
    shrinkage: float,
    has_priors: bool = True,
) -> Scores:
    """Return the `gaussian_scores` of the covariance ``within + gamma * differences + shrinkage * variance * I``.

    ``within`` is the covariance within the classes, ``variance`` the mean of its diagonal. What changes from view to
    view is noise, whatever the class: a direction counts the less, the more views differ along it. That is
    within-class covariance normalisation (Hatch, Kajarekar & Stolcke 2006, section 3), of views in the place of
    sessions. Without differences it is scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr")`` with a
    ``shrinkage`` of ``shrinkage / (1 + shrinkage)`` (Friedman 1989, eq. 18).

    Parameters
    ----------
    moments : Moments
        Of standardised rows, grouped by class; each class has a row.
    differences : float64 array (d, d) or None
        Mean outer product of the differences between views.
    gamma, shrinkage : float
    has_priors : bool
        As of `gaussian_scores`.
    """
    covariance = moments.scatter / moments.n
    variance = float(np.trace(covariance)) / len(covariance)
    if differences is not None and gamma > 0:
        covariance += gamma * differences
    # Rows that all sit on their class mean have no covariance: any will do, as no shrinkage changes its shape.
    covariance[np.diag_indices_from(covariance)] += shrinkage * variance or 1.0
    factor, info = lapack.dpotrf(covariance.T, lower=1, overwrite_a=1)  # symmetric: the transpose saves a copy
    if info:
        raise HeadsError(
            f"the covariance of {len(covariance)} columns is not positive definite with shrinkage {shrinkage:.3g}"
        )
    solved, _ = lapack.dpotrs(factor, moments.centres.T, lower=1)
    return gaussian_scores(moments, (1 + shrinkage) * solved.T, has_priors=has_priors)
