"""From the decisions of trials to the scores of heads: on which rows, in which groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from featcache import link_rows
from heads.ablation.bootstrap import GroupCounts, count_groups
from heads.ablation.comparison import HeadScore
from heads.ablation.grid import Cell
from heads.ablation.ledger import TrialResult
from heads.ablation.study import Study
from heads.data.tasks import IntArray

__all__ = ["Scorer"]


@dataclass(frozen=True)
class Scorer:
    """Scores heads of a study.

    Attributes
    ----------
    study : Study
    main : int array
        Rows that are compared: of folds all, else the selecting part of validation.
    other : int array
        The calibrating part.
    groups : mapping of {"main", "other"} to int array
        Number of each such row's group.
    """

    study: Study
    main: IntArray
    other: IntArray
    groups: Mapping[str, IntArray]

    @classmethod
    def build(cls, study: Study, folds: int | None) -> Scorer:
        """Say which rows of a study are compared."""
        parts = study.parts
        sets = link_rows(study.features)
        scored = np.sort(np.concatenate([part.score_rows for part in parts]))
        main = scored if folds is not None else parts[0].select_rows
        other = np.setdiff1d(scored, main)
        groups = {name: _renumber(sets[some]) for name, some in (("main", main), ("other", other))}
        return cls(study, main, other, groups)

    def score(self, cell: Cell, seed: int, results: Sequence[tuple[TrialResult, int]]) -> HeadScore:
        """Score one head, of which ``results`` has each part's trial and its place in that."""
        rows = self.study.features
        decisions = np.zeros((len(rows.tasks), len(rows)), dtype=np.int64)
        for part, (result, place) in zip(self.study.parts, results, strict=True):
            decisions[:, part.score_rows] = result.decisions[place]
        counts = self._count(decisions, "main")
        once = np.ones((1, counts.n_groups))
        scores = {name: float(value[0]) for name, value in counts.task_scores(once).items()}
        known = {name: None if np.isnan(value) else value for name, value in scores.items()}
        names = [task.name for task in rows.tasks]
        calibrating = None
        if len(self.other):
            other = self._count(decisions, "other")
            calibrating = float(other.scores(np.ones((1, other.n_groups)))[0])
        n_parameters = int(results[0][0].n_parameters[results[0][1]])
        epochs = [int(result.best_epoch[place]) for result, place in results]
        return HeadScore(
            cell=cell,
            seed=seed,
            score=float(counts.scores(once)[0]),
            a_balanced_accuracy=known[names[0]],
            b_f1_macro=known[names[1]] if len(names) > 1 else None,
            calibrating_score=None if calibrating is None or np.isnan(calibrating) else calibrating,
            n_parameters=None if n_parameters < 0 else n_parameters,
            best_epoch=None if min(epochs) < 0 else float(np.mean(epochs)),
            seconds=float(sum(result.seconds[place] for result, place in results)),
            counts=counts,
        )

    def _count(self, decisions: IntArray, name: str) -> GroupCounts:
        rows, some = self.study.features, self.main if name == "main" else self.other
        by_task = {task.name: decisions[k, some] for k, task in enumerate(rows.tasks)}
        return count_groups(by_task, rows.targets.select(some), tasks=rows.tasks, groups=self.groups[name])


def _renumber(sets: IntArray) -> IntArray:
    """Return numbers from 0 without gaps."""
    if not len(sets):
        return sets
    return np.unique(sets, return_inverse=True)[1].reshape(-1).astype(np.int64)
