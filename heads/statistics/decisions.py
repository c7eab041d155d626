"""How good decisions are, for many weightings of groups at once: from counts of what was said of what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.statistics.resampling import GroupSums

__all__ = [
    "DecisionCounts",
    "accuracy",
    "balanced_accuracy",
    "class_f1",
    "false_positive_rate",
    "macro_f1",
    "mean_known",
    "recalls",
    "true_positive_rate",
    "weighted_f1",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class DecisionCounts:
    """How often each group's rows of one class were called another.

    Attributes
    ----------
    sums : GroupSums
        Rows by true class and decision.
    n_classes : int
    n_decisions : int
        At least ``n_classes``; decisions from there on are of no class (unsure), and wrong.
    """

    sums: GroupSums
    n_classes: int
    n_decisions: int

    @classmethod
    def count(
        cls, y: IntArray, decisions: IntArray, groups: IntArray, *, n_classes: int, n_decisions: int | None = None
    ) -> DecisionCounts:
        """Count rows.

        Parameters
        ----------
        y, decisions : int array (n,)
            Class indices.
        groups : int array (n,)
            Number of each row's group, from 0.
        n_classes : int
        n_decisions : int, optional
            ``n_classes`` by default.
        """
        n_decisions = n_decisions or n_classes
        sums = GroupSums.build(y * n_decisions + decisions, groups, n_cells=n_classes * n_decisions)
        return cls(sums, n_classes, n_decisions)

    def count_groups(self, *classes: int) -> int:
        """Return how many groups have rows of one of these classes; of any class if none is named."""
        truth = self.sums.entry_cells // self.n_decisions
        wanted = np.isin(truth, classes) if classes else np.ones(len(truth), bool)
        return len(np.unique(self.sums.groups[wanted]))

    def confusion(self, weights: FloatArray) -> FloatArray:
        """Return counts by truth and decision: weights (n, n_groups) → (n, n_classes, n_decisions)."""
        return self.sums.weigh(weights).reshape(len(weights), self.n_classes, self.n_decisions)


def recalls(confusion: FloatArray) -> FloatArray:
    """Return the share of each class's rows that were called so: (n, K, D) → (n, K), NaN without rows."""
    return _divide(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))


def true_positive_rate(confusion: FloatArray) -> FloatArray:
    """Return the share of rows of class 1 that were called so: (n, 2, D) → (n,), NaN without such rows."""
    return recalls(confusion)[:, 1]


def false_positive_rate(confusion: FloatArray) -> FloatArray:
    """Return the share of rows of class 0 that were called class 1: (n, 2, D) → (n,), NaN without such rows."""
    return _divide(confusion[:, 0, 1], confusion[:, 0].sum(axis=1))


def balanced_accuracy(confusion: FloatArray) -> FloatArray:
    """Return the mean recall over the classes that have rows: (n, K, D) → (n,)."""
    return mean_known(recalls(confusion))


def accuracy(confusion: FloatArray) -> FloatArray:
    """Return the share of rows that were called what they are: (n, K, D) → (n,), NaN without rows."""
    return _divide(np.diagonal(confusion, axis1=1, axis2=2).sum(axis=1), confusion.sum(axis=(1, 2)))


def class_f1(confusion: FloatArray) -> FloatArray:
    """Return each class's F1: (n, K, D) → (n, K), NaN for a class that has no rows and was never said."""
    n_classes = confusion.shape[1]
    both = confusion.sum(axis=2) + confusion[:, :, :n_classes].sum(axis=1)
    return _divide(2 * np.diagonal(confusion, axis1=1, axis2=2), both)


def macro_f1(confusion: FloatArray) -> FloatArray:
    """Return the mean F1 over the classes that have rows or were said: (n, K, D) → (n,)."""
    return mean_known(class_f1(confusion))


def weighted_f1(confusion: FloatArray) -> FloatArray:
    """Return the mean F1 over classes by their rows: (n, K, D) → (n,), NaN without rows."""
    support = confusion.sum(axis=2)
    return _divide(np.where(support > 0, class_f1(confusion) * support, 0.0).sum(axis=1), support.sum(axis=1))


def mean_known(values: FloatArray) -> FloatArray:
    """Average each row's numbers that are not NaN, (n, k) → (n,); NaN where there is none."""
    known = ~np.isnan(values)
    return _divide(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _divide(counts: FloatArray, totals: FloatArray) -> FloatArray:
    return np.asarray(np.divide(counts, totals, out=np.full(totals.shape, np.nan), where=totals > 0))
