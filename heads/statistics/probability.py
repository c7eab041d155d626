"""How far probabilities are to be believed: log loss, Brier score and calibration error, for many weightings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.errors import HeadsError
from heads.statistics.resampling import GroupSums, cut_weights

__all__ = ["CLIP", "N_BINS", "ProbabilitySums", "assign_bins", "calibration_floor", "prior_weights"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CLIP = 1e-7
"""Probabilities are taken for at least this, so that one row cannot make a log loss infinite."""
N_BINS = 15
_ROWS_A_BIN = 20


@dataclass(frozen=True)
class ProbabilitySums:
    """What rows of each group add up to.

    Attributes
    ----------
    totals : float64 array (n_groups, n_strata, 3)
        Rows, log losses and squared errors; a stratum is a class that has a stated share, or all rows.
    gaps : GroupSums
        Confidence less outcome, by stratum and bin.
    shares : float64 array (n_strata,)
        What each stratum counts for.
    """

    totals: FloatArray
    gaps: GroupSums
    shares: FloatArray

    @classmethod
    def of_binary(
        cls, y: IntArray, p: NDArray[np.floating[Any]], groups: IntArray, *, prior: float | None = None
    ) -> ProbabilitySums:
        """Add up rows of a binary task.

        Parameters
        ----------
        y : int array (n,)
            0 or 1.
        p : float array (n,)
            Probability of class 1, in [0, 1]; with ``prior``, what is said where that is the share of class 1.
        groups : int array (n,)
            Number of each row's group, from 0.
        prior : float, optional
            Share of class 1 for which classes are reweighted, in every weighting anew; as they are by default.
        """
        p = p.astype(np.float64)
        weights = np.ones(len(y)) if prior is None else prior_weights(y, prior)
        losses = -np.log(np.maximum(np.where(y == 1, p, 1 - p), CLIP))
        gaps = np.asarray(p - y, np.float64)
        strata = None if prior is None else (y, np.array([1 - prior, prior]))
        return cls._build((losses, gaps**2, gaps), assign_bins(p, weights), groups, strata)

    @classmethod
    def of_multiclass(cls, y: IntArray, proba: NDArray[np.floating[Any]], groups: IntArray) -> ProbabilitySums:
        """Add up rows of a multiclass task: proba (n, K).

        The Brier score sums squared errors over the classes, and is up to 2; the calibration error is that of the
        likeliest class.
        """
        proba = proba.astype(np.float64)
        rows = np.arange(len(y))
        losses = -np.log(np.maximum(proba[rows, y], CLIP))
        squares = (proba**2).sum(axis=1) - 2 * proba[rows, y] + 1
        confidence = proba.max(axis=1)
        gaps = confidence - (proba.argmax(axis=1) == y)
        return cls._build((losses, squares, gaps), assign_bins(confidence), groups, None)

    @classmethod
    def _build(
        cls,
        scores: tuple[FloatArray, FloatArray, FloatArray],
        bins: IntArray,
        groups: IntArray,
        strata: tuple[IntArray, FloatArray] | None,
    ) -> ProbabilitySums:
        losses, squares, gaps = scores
        stratum, shares = strata or (np.zeros(len(bins), np.int64), np.ones(1))
        n_groups, n_strata = int(groups.max()) + 1, len(shares)
        place = groups * n_strata + stratum
        columns = (np.ones(len(bins)), losses, squares)
        totals = np.empty((n_groups * n_strata, len(columns)))
        for column, values in enumerate(columns):
            totals[:, column] = np.bincount(place, values, len(totals))
        cells = stratum * N_BINS + bins
        sums = GroupSums.build(cells, groups, gaps, n_cells=n_strata * N_BINS)
        return cls(totals.reshape(n_groups, n_strata, 3), sums, shares)

    def measure(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return ``nll`` (in nats), ``brier`` and ``ece`` under each weighting, (n,); NaN where a class has no weight.

        Parameters
        ----------
        weights : float64 array (n, n_groups)
            Groups after the last one that has rows may be left out of the sums: their columns count nothing.

        Notes
        -----
        ECE is the mean distance between confidence and outcome over bins of equal mass (Naeini and others, "Obtaining
        well calibrated probabilities using Bayesian binning", 2015), which stay those of the rows as they are. It is
        above 0 even where probabilities are true: see `calibration_floor`.
        """
        n_groups, n_strata, _ = self.totals.shape
        totals = (weights[:, :n_groups] @ self.totals.reshape(n_groups, n_strata * 3)).reshape(
            len(weights), n_strata, 3
        )
        rows = totals[:, :, 0]
        scale = np.divide(self.shares, rows, out=np.full(rows.shape, np.nan), where=rows > 0)
        gaps = self.gaps.weigh(weights).reshape(len(weights), n_strata, N_BINS)
        return {
            "nll": (scale * totals[:, :, 1]).sum(axis=1),
            "brier": (scale * totals[:, :, 2]).sum(axis=1),
            "ece": np.abs((scale[:, :, None] * gaps).sum(axis=1)).sum(axis=1),
        }


def prior_weights(y: IntArray, prior: float) -> FloatArray:
    """Return what each row counts for where class 1 has the share ``prior``: (n,), 1 on average."""
    n_rows = np.bincount(y, minlength=2)
    if not 0 < prior < 1 or not n_rows.all():
        raise HeadsError(
            f"a share of AI between 0 and 1 needs rows of both classes, found {prior!r} and {n_rows.tolist()} rows"
        )
    return np.asarray(np.array([1 - prior, prior]) / n_rows * len(y))[y]


def assign_bins(confidence: NDArray[np.floating[Any]], weights: FloatArray | None = None) -> IntArray:
    """Return each row's bin, from 0: bins of equal mass, `N_BINS` or as many as leave 20 rows to each.

    Rows with the same confidence share a bin.
    """
    n_bins = max(1, min(N_BINS, len(confidence) // _ROWS_A_BIN))
    distinct, place = np.unique(confidence, return_inverse=True)
    mass = np.bincount(place, weights=weights, minlength=len(distinct))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum() * n_bins
    return np.asarray(np.minimum(middle.astype(np.int64), n_bins - 1)[place])


def calibration_floor(
    confidence: NDArray[np.floating[Any]],
    weights: FloatArray | None = None,
    *,
    n_draws: int = 100,
    seed: int = 0,
) -> float:
    """Return the ECE to expect of so many independent rows if their probabilities were true.

    Parameters
    ----------
    confidence : float array (n,)
        Probability of class 1, or of the likeliest class.
    weights : float64 array (n,), optional
        Of rows: `prior_weights`.
    n_draws : int
        Sets of outcomes that are drawn with these probabilities.
    seed : int
    """
    p = confidence.astype(np.float64)
    weights = np.ones(len(p)) if weights is None else weights
    bins = assign_bins(p, weights)
    order = np.argsort(bins, kind="stable")
    p, weights = p[order], weights[order]
    starts = np.unique(bins[order], return_index=True)[1]
    rng = np.random.default_rng(seed)
    found = []
    for rows in cut_weights(n_draws, len(p)):
        gaps = p - (rng.random((rows.stop - rows.start, len(p))) < p)
        found.append(np.abs(np.add.reduceat(gaps * weights, starts, axis=1)).sum(axis=1) / weights.sum())
    return float(np.concatenate(found).mean())
