"""How far a set of pictures is from those that a head was calibrated on: how well a linear classifier tells them apart.

The AUC of a classifier between two samples, on rows that it did not learn from, is a measure of how they differ
(Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", 2017): 0.5 where nothing tells them apart, 1 where
everything does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.dealing import deal
from heads.data.tasks import BoolArray, IntArray
from heads.head.protocol import FloatArray
from heads.head.scaling import Standardizer
from heads.statistics.intervals import Interval, t_interval
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import resample, standard_error

__all__ = ["SET", "EffectSize", "measure_effect"]

SET = 2
"""The side of the rows of a set; known rows are 0 if they are real, 1 if they are AI."""
_FOLDS = 5
_PENALTY = 0.1
_BOTH_WAYS = 2**0.5
"""Of two folds each is scored by what the other taught, which is nearly the same twice: half as many are independent.

With fixed scores resampled, intervals of rows alike would cover 0.5 in 88 of 100 cases.
"""

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class EffectSize:
    """How well rows of a set are told from known rows.

    Attributes
    ----------
    n, n_known : int
        Rows of the set, and known ones, that were looked at.
    share : float
        Share of AI at which the known rows are weighted.
    auc : Interval
        How often a row of the set scores above a known one; resampled by group, the folds and classifiers stay.
    """

    n: int
    n_known: int
    share: float
    auc: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"n": self.n, "n_known": self.n_known, "share": self.share, "auc": self.auc.to_dict()}


def measure_effect(
    X: FloatArray, side: IntArray, groups: IntArray, *, share: float, seed: int = 0
) -> EffectSize | None:
    """Tell rows of a set from known rows, weighted to have the same share of AI; None where either has one group.

    Parameters
    ----------
    X : float32 array (n, d)
    side : int array (n,)
        0 known and real, 1 known and AI, `SET`.
    groups : int array (n,)
        Rows of one number stay in one fold.
    share : float
        Of AI pictures, that the set is taken to have: another share alone is no difference.
    seed : int
        Of the order in which groups of one size are dealt to folds.
    """
    parts = np.array([(1 - share) / 2, share / 2, 0.5])
    used = np.flatnonzero(parts[side] > 0)
    X, side, codes = X[used], side[used], np.unique(groups[used], return_inverse=True)[1].reshape(-1)
    n_of = [len(np.unique(codes[side == code])) for code in range(3) if parts[code] > 0]
    if len(n_of) < 2 or min(n_of) < 2:
        return None
    weights = (parts / np.maximum(np.bincount(side, minlength=3), 1))[side]
    fold = _deal_groups(side, codes, min(_FOLDS, *n_of), seed)
    scores = _cross_fit(X, side == SET, weights, fold)
    ranked = {
        code: [_rank(scores, side, codes, (fold == k) & np.isin(side, (code, SET))) for k in np.unique(fold)]
        for code in np.unique(side[side != SET]).tolist()
    }

    def measure(drawn: Weights) -> dict[str, Weights]:
        found = np.zeros(len(drawn))
        for code, folds in ranked.items():
            found += 2 * parts[code] * _mean([each.measure(drawn, ())["auc"] for each in folds])
        return {"auc": found}

    values = resample(measure, int(codes.max()) + 1)["auc"]
    spread = _BOTH_WAYS * standard_error(values[1:])
    n_groups = min(_effective(codes[rows], weights[rows]) for rows in (side == SET, side != SET))
    n_set = int((side == SET).sum())
    return EffectSize(n_set, len(side) - n_set, share, t_interval(float(values[0]), spread, n_groups, scale="logit"))


def _deal_groups(side: IntArray, codes: IntArray, n_folds: int, seed: int) -> IntArray:
    """Return the fold of each row: groups go, largest first, to the fold that is shortest of their sides."""
    counts = np.zeros((int(codes.max()) + 1, 3))
    np.add.at(counts, (codes, side), 1)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    fold = np.empty(len(counts), np.int64)
    fold[order] = deal(((slice(None), each) for each in shares[order]), np.zeros((n_folds, 3)))
    return np.asarray(fold[codes])


def _cross_fit(X: FloatArray, is_set: BoolArray, weights: Weights, fold: IntArray) -> FloatArray:
    """Return the scores of rows by ridge regressions on the side, each fitted on the other folds, in the dual form.

    Columns are standardised over both sides, as if they were of one size: the regressions have no intercept.
    """
    Z = _standardise(X, weights)
    products = Z @ Z.T / np.float32(Z.shape[1])
    y = np.where(is_set, 1, -1).astype(np.float32)
    scores = np.zeros(len(X), np.float32)
    for k in np.unique(fold):
        fit, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not 0 < is_set[fit].sum() < len(fit):
            continue
        own = np.where(is_set[fit], *(0.5 / weights[fit][is_set[fit] == side].sum() for side in (True, False)))
        penalty = _PENALTY / (own * weights[fit] * len(fit))
        solved = np.linalg.solve(products[np.ix_(fit, fit)] + np.diag(penalty.astype(np.float32)), y[fit])
        scores[held] = products[np.ix_(held, fit)] @ solved
    return scores


def _standardise(X: FloatArray, weights: Weights) -> FloatArray:
    mean = np.einsum("i,ij->j", weights, X)
    away = X - mean.astype(np.float32)
    return Standardizer.of_deviations(mean, np.sqrt(np.einsum("i,ij,ij->j", weights, away, away))).transform(X)


def _rank(scores: FloatArray, side: IntArray, codes: IntArray, rows: BoolArray) -> RankedScores:
    return RankedScores.sort((side[rows] == SET).astype(np.int64), scores[rows], codes[rows])


def _mean(values: list[Weights]) -> Weights:
    """Return the mean over folds that have rows of both sides; NaN where none has."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    n = known.sum(axis=0)
    return np.asarray(np.divide(np.where(known, stacked, 0).sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0))


def _effective(codes: IntArray, weights: Weights) -> int:
    """Return how many groups of one weight tell as much: Kish, "Survey Sampling", 1965, section 8.2."""
    sums = np.bincount(codes, weights=weights)
    return round(float(sums.sum()) ** 2 / float((sums**2).sum()))
