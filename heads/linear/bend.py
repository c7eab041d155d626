"""Coordinates in which a penalty on what differs between views is the length of the coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from heads.head.protocol import FloatArray

__all__ = ["Bend"]

Float64Array = NDArray[np.float64]


class Bend:
    """The change of rows ``z -> L^-1 z`` with ``L L^T = I + invariance * differences``.

    A ridge on the coefficients of bent rows is, on those of the rows as they are, the penalty
    ``coef^T (I + invariance * differences) coef``: what solves the one solves the other.

    Parameters
    ----------
    differences : float64 array (d, d)
        Mean outer product of the differences between views.
    invariance : float
    """

    def __init__(self, differences: Float64Array, invariance: float) -> None:
        self._factor = np.linalg.cholesky(invariance * differences + np.eye(len(differences)))

    def rows(self, Z: FloatArray) -> FloatArray:
        """Return rows (n, d), bent."""
        return np.asarray(solve_triangular(self._factor.astype(np.float32), Z.T, lower=True).T)

    def straighten(self, coef: Float64Array) -> Float64Array:
        """Return the coefficients (k, d), for rows as they are, of those for bent ones."""
        return np.asarray(solve_triangular(self._factor, coef.T, lower=True, trans="T").T)
