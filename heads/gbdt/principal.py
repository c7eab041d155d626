"""Principal components of the columns: fewer columns for trees, which pay for each one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import eigh

from heads.head.moments import Moments
from heads.head.protocol import FloatArray
from heads.head.scaling import Standardizer, check_finite, draw_rows

__all__ = ["Principal"]

_MEASURED_ROWS = 4096
_CHUNK = 4096


@dataclass(frozen=True)
class Principal:
    """Scores of rows on the directions in which standardised columns vary most.

    Attributes
    ----------
    mean : float32 array (d,)
        Of the columns.
    axes : float32 array (d, k)
        Directions, largest variance first, divided by the columns' standard deviations.
    """

    mean: FloatArray
    axes: FloatArray

    @classmethod
    def fit(cls, X: FloatArray, n_components: int, *, seed: int = 0) -> Self:
        """Measure at most 4,096 rows of ``X`` (n, d), drawn at random: the axes need no more.

        There are fewer components where rows or columns are fewer.
        """
        sample = X[draw_rows(len(X), _MEASURED_ROWS, seed=seed)]
        scaler = Standardizer.fit(sample)
        d, k = X.shape[1], min(n_components, X.shape[1], max(1, len(sample) - 1))
        # float32, as its products are: in a third of the time.
        scatter = Moments.of(scaler.transform(sample), dtype=np.float32).scatter.astype(np.float32)
        vectors = eigh(scatter, subset_by_index=(d - k, d - 1), check_finite=False, overwrite_a=True)[1][:, ::-1]
        axes = np.ascontiguousarray(vectors * scaler.inverse_scale[:, None], dtype=np.float32)
        return cls(scaler.mean.astype(np.float32), axes)

    def transform(self, X: FloatArray) -> FloatArray:
        """Return the scores of ``X`` (n, d): float32 (n, k).

        Raises
        ------
        HeadsError
            If a row lies so far out that float32 overflows.
        """
        out = np.empty((len(X), self.axes.shape[1]), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(X), _CHUNK):
                np.matmul(X[start : start + _CHUNK] - self.mean, self.axes, out=out[start : start + _CHUNK])
        check_finite(out, "components of X")
        return out
