"""From the decisions of trials to the scores of heads: on which rows, in which groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featcache import link_rows
from heads.ablation.bootstrap import count_groups
from heads.ablation.comparison import HeadScore
from heads.ablation.grid import Cell
from heads.ablation.ledger import TrialResult
from heads.ablation.study import Study
from heads.data.tasks import IntArray
from heads.errors import HeadsError

__all__ = ["Scorer"]


@dataclass(frozen=True)
class Scorer:
    """Scores heads of a study.

    Attributes
    ----------
    study : Study
    rows : int array
        Those that are compared: of folds all, else the calibrating part of validation. None of them selected anything
        of the head that is scored on it.
    groups : int array
        Number of each such row's group.
    has_folds : bool
    """

    study: Study
    rows: IntArray
    groups: IntArray
    has_folds: bool

    @classmethod
    def build(cls, study: Study, folds: int | None) -> Scorer:
        """Say which rows of a study are compared."""
        rows = np.sort(np.concatenate([np.setdiff1d(part.score_rows, part.select_rows) for part in study.parts]))
        if not len(rows):
            raise HeadsError(
                "no row of split 'valid' is left to score on beside those that select: leave --folds out to score in "
                "folds, or give another group of rows the split 'valid'"
            )
        groups = np.unique(link_rows(study.features)[rows], return_inverse=True)[1]
        return cls(study, rows, groups.reshape(-1).astype(np.int64), has_folds=folds is not None)

    def score(self, cell: Cell, seed: int, results: Sequence[tuple[TrialResult, int]]) -> HeadScore:
        """Score one head, of which ``results`` has each part's trial and its place in that.

        One that was fitted to shuffled labels is scored on them: contents and groups that are in both splits have the
        same new labels in both, and tell what it saw of them.
        """
        features, chosen = self.study.features, self.rows
        decisions = np.zeros((len(features.tasks), len(features)), dtype=np.int64)
        for part, (result, place) in zip(self.study.parts, results, strict=True):
            decisions[:, part.score_rows] = result.decisions[place]
        names = [task.name for task in features.tasks]
        by_task = {name: decisions[k, chosen] for k, name in enumerate(names)}
        targets = self.study.targets(cell.control, seed=seed).select(chosen)
        counts = count_groups(by_task, targets, tasks=features.tasks, groups=self.groups)
        once = np.ones((1, counts.n_groups))
        scores = {name: float(value[0]) for name, value in counts.task_scores(once).items()}
        known = {name: None if np.isnan(value) else value for name, value in scores.items()}
        score = float(counts.scores(once)[0])
        n_parameters = int(results[0][0].n_parameters[results[0][1]])
        epochs = [int(result.best_epoch[place]) for result, place in results]
        return HeadScore(
            cell=cell,
            seed=seed,
            score=score,
            a_balanced_accuracy=known[names[0]],
            b_f1_macro=known[names[1]] if len(names) > 1 else None,
            calibrating_score=None if self.has_folds else score,
            n_parameters=None if n_parameters < 0 else n_parameters,
            best_epoch=None if min(epochs) < 0 else float(np.mean(epochs)),
            seconds=float(sum(result.seconds[place] for result, place in results)),
            counts=counts,
        )
