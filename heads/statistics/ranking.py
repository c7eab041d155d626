"""How well scores rank rows of class 1 above rows of class 0, for many weightings of groups at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.statistics.resampling import cut_weights, join_weightings

__all__ = ["FPRS", "RankedScores", "auc", "average_precision", "partial_auc", "tpr_at_fpr"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FPRS = (0.01, 0.05)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class RankedScores:
    """Rows of a binary task in the order of their scores, highest first; positives are rows of class 1.

    Attributes
    ----------
    positives, negatives : int array (n_positives,), (n_negatives,)
        Group of each row.
    positives_with : int array (n_positives,)
        Of each positive, how many positives score as much or more.
    negatives_with : int array (n_positives,)
        Of each positive, how many negatives do.
    positives_above, positives_from : int array (n_negatives + 1,)
        Of each negative, how many positives score more, and how many as much or more; last, all of them.
    ends : int array (n_distinct + 1,)
        How many negatives score above each threshold that tells negatives apart: 0 first, all of them last.
    """

    positives: IntArray
    negatives: IntArray
    positives_with: IntArray
    negatives_with: IntArray
    positives_above: IntArray
    positives_from: IntArray
    ends: IntArray

    @classmethod
    def sort(cls, y: IntArray, p: NDArray[np.floating[Any]], groups: IntArray | None = None) -> RankedScores:
        """Sort rows.

        Parameters
        ----------
        y : int array (n,)
            0 or 1.
        p : float array (n,)
            Scores of class 1, probabilities or not.
        groups : int array (n,), optional
            Number of each row's group, from 0; all of one group by default.
        """
        groups = np.zeros(len(y), np.int64) if groups is None else groups
        falling = -p.astype(np.float64)
        order = np.argsort(falling, kind="stable")
        is_positive = y[order] == 1
        sides = [order[is_positive], order[~is_positive]]
        positive, negative = (falling[side] for side in sides)
        above, up_to = (np.searchsorted(positive, negative, side) for side in ("left", "right"))
        tie_ends = np.flatnonzero(np.diff(negative)) + 1
        return cls(
            positives=groups[sides[0]],
            negatives=groups[sides[1]],
            positives_with=np.searchsorted(positive, positive, "right"),
            negatives_with=np.searchsorted(negative, positive, "right"),
            positives_above=np.append(above, len(positive)),
            positives_from=np.append(up_to, len(positive)),
            ends=np.concatenate([[0], tie_ends, [len(negative)] if len(negative) else []]).astype(np.int64),
        )

    def measure(self, weights: FloatArray, fprs: Sequence[float] = FPRS) -> dict[str, FloatArray]:
        """Return the figures under each weighting of the groups, NaN where a class has no weight.

        Parameters
        ----------
        weights : float64 array (n, n_groups)
        fprs : sequence of float
            False positive rates in (0, 1]; none if the last two figures are not needed.

        Returns
        -------
        dict of str to float64 array
            ``auc`` and ``average_precision`` (n,), ``tpr_at_fpr`` and ``partial_auc`` (n, len(fprs)): see the functions
            of these names.
        """
        parts = [
            _measure_few(self, weights[rows], tuple(fprs))
            for rows in cut_weights(len(weights), len(self.positives) + len(self.negatives))
        ]
        return join_weightings(parts)


def auc(y: IntArray, p: NDArray[np.floating[Any]]) -> float:
    """Return how often a positive scores more than a negative, ties counting half; NaN with one class."""
    return float(_measure_rows(y, p)["auc"].item())


def average_precision(y: IntArray, p: NDArray[np.floating[Any]]) -> float:
    """Return the mean precision at the scores of positives, as scikit-learn defines it; NaN without positives."""
    return float(_measure_rows(y, p)["average_precision"].item())


def tpr_at_fpr(y: IntArray, p: NDArray[np.floating[Any]], fpr: float) -> float:
    """Return the highest true positive rate of a threshold whose false positive rate is at most ``fpr``.

    Nothing is interpolated: it is the rate of a threshold that exists. NaN with one class.
    """
    return float(_measure_rows(y, p, (fpr,))["tpr_at_fpr"].item())


def partial_auc(y: IntArray, p: NDArray[np.floating[Any]], max_fpr: float) -> float:
    """Return the area under the curve up to a false positive rate, scaled so that chance is 0.5 and the best 1.

    McClish, "Analyzing a portion of the ROC curve", 1989; ``roc_auc_score(max_fpr=…)`` of scikit-learn. NaN with one
    class.
    """
    return float(_measure_rows(y, p, (max_fpr,))["partial_auc"].item())


def _measure_rows(y: IntArray, p: NDArray[np.floating[Any]], fprs: Sequence[float] = FPRS) -> dict[str, FloatArray]:
    return RankedScores.sort(y, p).measure(np.ones((1, 1)), fprs)


def _measure_few(rows: RankedScores, weights: FloatArray, fprs: Sequence[float]) -> dict[str, FloatArray]:
    """Measure so few weightings that arrays of a number a row and weighting have room."""
    positives, negatives = _accumulate(weights, rows.positives), _accumulate(weights, rows.negatives)
    n_positives, n_negatives = positives[:, -1], negatives[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"average_precision": _average_precision(rows, positives, negatives)}
        # Of each negative: its weight times the positives above it, those of its own score by half.
        areas = np.take(positives, rows.positives_above[:-1], axis=1)
        if not np.array_equal(rows.positives_above, rows.positives_from):
            areas += np.take(positives, rows.positives_from[:-1], axis=1)
            areas /= 2
        areas *= np.diff(negatives, axis=1)
        pairs = n_positives * n_negatives
        found["auc"] = areas.sum(axis=1) / pairs
        tprs, partial = (np.empty((len(weights), len(fprs))) for _ in range(2))
        for k, fpr in enumerate(fprs):
            hits, area = _cut(rows, positives, negatives, areas=areas, fpr=fpr)
            tprs[:, k] = np.where(n_negatives > 0, hits / n_positives, np.nan)
            partial[:, k] = _standardise(area / pairs, fpr)
    found |= {"tpr_at_fpr": tprs, "partial_auc": partial}
    return found


def _average_precision(rows: RankedScores, positives: FloatArray, negatives: FloatArray) -> FloatArray:
    hits = np.take(positives, rows.positives_with, axis=1)
    said = np.take(negatives, rows.negatives_with, axis=1)
    said += hits
    # Without weight up to here this positive has none either.
    precision = np.divide(hits, said, out=hits, where=said > 0)
    return np.asarray((precision * np.diff(positives, axis=1)).sum(axis=1) / positives[:, -1])


def _cut(
    rows: RankedScores, positives: FloatArray, negatives: FloatArray, *, areas: FloatArray, fpr: float
) -> tuple[FloatArray, FloatArray]:
    """Return the weight of positives above the lowest threshold within ``fpr``, and the area up to ``fpr``."""
    hits, area = np.empty(len(positives)), np.empty(len(positives))
    for i, (ours, theirs) in enumerate(zip(positives, negatives, strict=True)):
        limit = fpr * theirs[-1]
        steps = theirs if len(rows.ends) == len(theirs) else theirs[rows.ends]
        last = int(np.searchsorted(steps, limit * (1 + _ROUNDING), "right")) - 1
        end = int(rows.ends[last])
        hits[i] = ours[rows.positives_above[end]]
        area[i] = areas[i, :end].sum()
        if last + 1 < len(steps):
            # The next negatives are taken in part: the curve rises to them in a straight line.
            left = limit - steps[last]
            rise = (ours[rows.positives_from[end]] - hits[i]) * left / (steps[last + 1] - steps[last])
            area[i] += left * (hits[i] + rise / 2)
    return hits, area


def _standardise(area: FloatArray, fpr: float) -> FloatArray:
    least = fpr**2 / 2
    return np.asarray((1 + (area - least) / (fpr - least)) / 2)


def _accumulate(weights: FloatArray, groups: IntArray) -> FloatArray:
    """Return the weight of the first rows, of none first and of all last: (n, n_rows + 1)."""
    found = np.zeros((len(weights), len(groups) + 1))
    np.cumsum(np.take(weights, groups, axis=1), axis=1, out=found[:, 1:])
    return found
