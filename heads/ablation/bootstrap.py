"""Bootstrap intervals for differences between heads: paired by row, clustered by group.

Every score here is a function of counts (what was said of what), so a resample of groups needs no second look at the
rows: the counts of each group are added up with the weight that the group was drawn with, all resamples in one matrix
product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.head.protocol import Prediction

__all__ = [
    "GroupCounts",
    "Interval",
    "build_interval",
    "count_groups",
    "decide",
    "draw_weights",
    "resample_scores",
]

Decisions = Mapping[str, IntArray]


@dataclass(frozen=True)
class Interval:
    """A difference of scores and how far it can be trusted.

    Attributes
    ----------
    estimate : float
        On the rows as they are.
    low, high : float
        Percentiles over the resamples; what varies in them is which groups were drawn, not the training seed.
    level : float
        Share of the resamples between the two.
    n_resamples : int
    """

    estimate: float
    low: float
    high: float
    level: float
    n_resamples: int

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class GroupCounts:
    """How often each group's rows of one class were called another, by task.

    Attributes
    ----------
    tables : mapping of task name to float64 array (n_groups, K, K)
        Rows to which the task applies, by true and predicted class.
    is_binary : mapping of task name to bool
        Whether the task is scored by balanced accuracy rather than macro F1.
    """

    tables: Mapping[str, NDArray[np.float64]]
    is_binary: Mapping[str, bool]

    @property
    def n_groups(self) -> int:
        """Groups that are counted."""
        return len(next(iter(self.tables.values())))

    @property
    def chance(self) -> float:
        """The best expected score of decisions that do not depend on the row.

        Of K classes that occur it is 1/K: for balanced accuracy whatever is said, for macro F1 when each class is
        said as often as it occurs (the sum of ``2 p q / (p + q)`` is largest at ``q = p``).
        """
        present = [int((table.sum(axis=(0, 2)) > 0).sum()) for table in self.tables.values()]
        return float(np.mean([1 / n for n in present if n]))

    def task_scores(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return each task's score under each weighting of the groups, NaN where the task has no rows.

        Parameters
        ----------
        weights : float64 array (n, n_groups)

        Returns
        -------
        dict of task name to float64 array (n,)
            With weights of 1 these are `heads.head.task_scores.task_score`.
        """
        scores = {}
        for name, table in self.tables.items():
            n_groups, n_classes, _ = table.shape
            counts = (weights @ table.reshape(n_groups, -1)).reshape(-1, n_classes, n_classes)
            scores[name] = (_balanced_accuracy if self.is_binary[name] else _macro_f1)(counts)
        return scores

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean task score under each weighting, (n,): with weights of 1 it is `selection_score`."""
        return _mean_known(np.stack(list(self.task_scores(weights).values()), axis=1))


def decide(prediction: Prediction, tasks: Sequence[Task]) -> dict[str, IntArray]:
    """Return each task's decision by row, as `task_scores.task_score` takes it: 0.5, or the likeliest class."""
    decisions = {}
    for task in tasks:
        proba = prediction.proba[task.name]
        decisions[task.name] = (proba >= 0.5 if task.kind == "binary" else proba.argmax(axis=1)).astype(np.int64)
    return decisions


def count_groups(decisions: Decisions, targets: Targets, *, tasks: Sequence[Task], groups: IntArray) -> GroupCounts:
    """Count decisions by group.

    Parameters
    ----------
    decisions : mapping of task name to int array (n,)
        Class indices; values of rows to which a task does not apply mean nothing.
    targets : Targets
    tasks : sequence of Task
    groups : int array (n,)
        Number of each row's group, from 0.
    """
    n_groups = int(groups.max()) + 1
    tables = {}
    for task in tasks:
        rows, n_classes = targets.applies[task.name], len(task.classes)
        entry = (groups[rows] * n_classes + targets.y[task.name][rows]) * n_classes + decisions[task.name][rows]
        counts = np.bincount(entry, minlength=n_groups * n_classes**2)
        tables[task.name] = counts.reshape(n_groups, n_classes, n_classes).astype(np.float64)
    return GroupCounts(tables, {task.name: task.kind == "binary" for task in tasks})


def draw_weights(n_groups: int, *, n_resamples: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    """Draw how often each group occurs in each resample of as many groups, with replacement: (n_resamples, n_groups).

    The plain cluster bootstrap (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).
    """
    if n_groups < 2:
        raise HeadsError(f"there is {n_groups} group of rows to resample, expected two or more")
    rng = np.random.default_rng(seed)
    weights = np.empty((n_resamples, n_groups))
    for row in weights:
        row[:] = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
    return weights


def resample_scores(seeds: Sequence[GroupCounts], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a configuration's score on the rows as they are, and then on each resample: (1 + n_resamples,).

    Parameters
    ----------
    seeds : sequence of GroupCounts
        One a seed; their scores are averaged within each resample.
    weights : float64 array (n_resamples, n_groups)
        As `draw_weights` makes them; the same for all that is to be compared.
    """
    every = np.vstack([np.ones((1, weights.shape[1])), weights])
    return np.asarray(np.mean([counts.scores(every) for counts in seeds], axis=0))


def build_interval(values: NDArray[np.float64], *, level: float = 0.95) -> Interval:
    """Bound what `resample_scores` returned, or the difference of two such: both heads on the same resamples.

    In a difference, what is hard for both heads cancels out.
    """
    low, high = np.nanquantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high), level, len(values) - 1)


def _balanced_accuracy(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean recall over the classes that have rows: counts (n, K, K) by truth and decision → (n,)."""
    support = counts.sum(axis=2)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    return _mean_known(np.divide(hits, support, out=np.full(support.shape, np.nan), where=support > 0))


def _macro_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean F1 over the classes that have rows or were said: counts (n, K, K) → (n,)."""
    both = counts.sum(axis=2) + counts.sum(axis=1)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    return _mean_known(np.divide(2 * hits, both, out=np.full(both.shape, np.nan), where=both > 0))


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each row's numbers that are not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    n_known = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, n_known, out=np.full(len(values), np.nan), where=n_known > 0))
