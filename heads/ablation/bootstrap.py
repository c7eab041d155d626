"""Scores of heads on the same resamples of groups: paired by row, clustered by group.

Every score here is a function of counts (what was said of what), so a resample of groups needs no second look at the
rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task
from heads.head.protocol import Prediction
from heads.statistics.decisions import DecisionCounts, balanced_accuracy, macro_f1, mean_known

__all__ = ["GroupCounts", "count_groups", "decide", "resample_scores"]

Decisions = Mapping[str, IntArray]


@dataclass(frozen=True)
class GroupCounts:
    """How often each group's rows of one class were called another, by task.

    Attributes
    ----------
    by_task : mapping of task name to DecisionCounts
        Of rows to which the task applies.
    is_binary : mapping of task name to bool
        Whether the task is scored by balanced accuracy rather than macro F1.
    n_groups : int
        Groups that are numbered, with rows of a task or without.
    """

    by_task: Mapping[str, DecisionCounts]
    is_binary: Mapping[str, bool]
    n_groups: int

    @property
    def chance(self) -> float:
        """The best expected score of decisions that do not depend on the row.

        Of K classes that occur it is 1/K: for balanced accuracy whatever is said, for macro F1 when each class is
        said as often as it occurs (the sum of ``2 p q / (p + q)`` is largest at ``q = p``).
        """
        present = [sum(counts.count_groups(k) > 0 for k in range(counts.n_classes)) for counts in self.by_task.values()]
        return float(np.mean([1 / n for n in present if n]))

    @property
    def n_independent(self) -> int:
        """Groups that the score rests on: of the task, and of a binary task the class, that has fewest of them.

        The score varies as its least certain part does, however many groups the others have.
        """
        found = []
        for name, counts in self.by_task.items():
            parts = [(k,) for k in range(counts.n_classes)] if self.is_binary[name] else [()]
            found += [counts.count_groups(*classes) for classes in parts]
        return min(n for n in found if n)

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
        return {
            name: (balanced_accuracy if self.is_binary[name] else macro_f1)(counts.confusion(weights))
            for name, counts in self.by_task.items()
        }

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean task score under each weighting, (n,): with weights of 1 it is `selection_score`."""
        return mean_known(np.stack(list(self.task_scores(weights).values()), axis=1))


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
    by_task = {}
    for task in tasks:
        rows = targets.applies[task.name]
        by_task[task.name] = DecisionCounts.count(
            targets.y[task.name][rows], decisions[task.name][rows], groups[rows], n_classes=len(task.classes)
        )
    return GroupCounts(by_task, {task.name: task.kind == "binary" for task in tasks}, int(groups.max()) + 1)


def resample_scores(seeds: Sequence[GroupCounts], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a configuration's score on the rows as they are, and then on each resample: (1 + n_resamples,).

    Parameters
    ----------
    seeds : sequence of GroupCounts
        One a seed; their scores are averaged within each resample.
    weights : float64 array (n_resamples, n_groups)
        As `heads.statistics.resampling.draw_weights` makes them; the same for all that is to be compared: in a
        difference, what is hard for both heads cancels out.
    """
    every = np.vstack([np.ones((1, weights.shape[1])), weights])
    return np.asarray(np.mean([counts.scores(every) for counts in seeds], axis=0))
