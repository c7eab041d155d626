"""How heads do on what they knew nothing of: at the frozen threshold and by rank, each value, the mean, the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from featcache import link_rows
from heads.ablation.fitting import FittedCells
from heads.ablation.grid import Cell
from heads.ablation.ledger import TrialResult
from heads.ablation.study import Study
from heads.data.held_out import HeldOut, HeldOuts
from heads.data.tasks import IntArray, joint_tasks
from heads.head.balance import fitted_share
from heads.statistics.decisions import DecisionCounts, false_positive_rate, true_positive_rate
from heads.statistics.intervals import Interval, bound
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import FloatArray, resample
from heads.verdicts.balanced import choose_balanced, neutral_threshold
from heads.verdicts.fitting import Scores

__all__ = ["FIGURES", "HeldLine", "HeldScore", "HoldOutResult", "score_held_out"]

FIGURES: Mapping[str, tuple[int, ...]] = {"tpr": (1,), "fpr": (0,), "auc": (0, 1)}
"""What is said of each value, and the classes of task A that it needs rows of."""


@dataclass(frozen=True)
class HeldScore:
    """One configuration on one value that it knew nothing of.

    Attributes
    ----------
    value : str
    thresholds : tuple of float
        One a seed, on raw P(AI).
    figures : mapping of str to Interval
        Those of `FIGURES` of whose classes there are rows; means over the seeds.
    """

    value: str
    thresholds: tuple[float, ...]
    figures: Mapping[str, Interval]


@dataclass(frozen=True)
class HeldLine:
    """One configuration on all values.

    Attributes
    ----------
    cell : Cell
    scores : tuple of HeldScore
    mean : mapping of str to Interval
        Means of each figure over the values that have it: over draws of other groups of the same values.
    """

    cell: Cell
    scores: tuple[HeldScore, ...]
    mean: Mapping[str, Interval]

    @property
    def merit(self) -> float:
        """What `--select held-out` chooses by: the mean AUC; where classes share no value, that of TPR and 1 − FPR."""
        if "auc" in self.mean:
            return self.mean["auc"].estimate
        right = {"tpr": 0.0, "fpr": 1.0}
        return float(
            np.mean([abs(wrong - self.mean[name].estimate) for name, wrong in right.items() if name in self.mean])
        )

    @property
    def worst(self) -> dict[str, HeldScore]:
        """The value with the lowest ``tpr`` and ``auc``, and the highest ``fpr``."""
        found = {}
        for name in self.mean:
            known = [score for score in self.scores if name in score.figures]
            choose = max if name == "fpr" else min
            found[name] = choose(known, key=lambda score: score.figures[name].estimate)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the record of this configuration in ``ablation.json``."""
        return {
            **self.cell.to_dict(),
            "values": [
                {"value": score.value, "thresholds": list(score.thresholds), **_figures(score.figures)}
                for score in self.scores
            ],
            "mean": _figures(self.mean),
            "worst": {
                name: {"value": score.value, **score.figures[name].to_dict()} for name, score in self.worst.items()
            },
        }


@dataclass(frozen=True)
class HoldOutResult:
    """What came of holding out each value in turn.

    Attributes
    ----------
    held : HeldOuts
    lines : tuple of HeldLine
        One a configuration that was fitted in full, controls left out.
    n_groups : tuple of int
        Of each division: sets of rows with the value that share no group and no picture.
    """

    held: HeldOuts
    lines: tuple[HeldLine, ...]
    n_groups: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return ``held_out`` of ``ablation.json``."""
        return {
            "by": self.held.axis,
            "values": [
                {
                    "value": division.value,
                    "n": division.n_own,
                    "groups": n_groups,
                    "n_fit": len(division.part.fit_rows),
                    "n_select": len(division.part.select_rows),
                    "n_calibrating": len(division.calibrating),
                    "n_judged": len(division.tested),
                }
                for division, n_groups in zip(self.held.divisions, self.n_groups, strict=True)
            ],
            "refused": dict(self.held.refused),
            "n_unnamed": self.held.n_unnamed,
            "table": [line.to_dict() for line in self.lines],
        }


def score_held_out(study: Study, held: HeldOuts, fitted: FittedCells) -> HoldOutResult:
    """Score configurations that were fitted on the divisions of ``held``, the parts of ``study``.

    Each seed's threshold is chosen as that of a run: `heads.verdicts.balanced.choose_balanced` on the calibrating rows
    of the division; where these have one class alone, it is the share of AI among the rows that were fitted.
    """
    judge = _Judge(study, held)
    by_cell: dict[Cell, list[Sequence[tuple[TrialResult, int]]]] = {}
    for (cell, _), results in fitted.items():
        by_cell.setdefault(cell, []).append(results)
    lines = tuple(judge.score(cell, seeds) for cell, seeds in by_cell.items())
    return HoldOutResult(held, lines, tuple(judge.count_own(division) for division in held.divisions))


@dataclass(frozen=True)
class _Judge:
    """Rows that are held out, and what they are."""

    study: Study
    held: HeldOuts

    @cached_property
    def y(self) -> IntArray:
        targets = self.study.features.targets
        return targets.y[joint_tasks(self.study.features.tasks)[0].name]

    @cached_property
    def sets(self) -> IntArray:
        """Sets of rows that are no independent draws, numbered from 0 over those that are judged."""
        sets = link_rows(self.study.features)
        judged = np.unique(sets[np.concatenate([division.tested for division in self.held.divisions])])
        order = np.concatenate([judged, np.setdiff1d(sets, judged)])
        return np.argsort(order)[sets]

    @cached_property
    def n_sets(self) -> int:
        return int(max(self.sets[division.tested].max() for division in self.held.divisions)) + 1

    def count_own(self, division: HeldOut) -> int:
        """Return in how many sets the rows of a value come."""
        own = division.tested if self.held.axis == "origin" else division.tested[self.y[division.tested] == 1]
        return len(np.unique(self.sets[own]))

    def prior(self, cell: Cell, division: HeldOut) -> float:
        """Return the share of AI rows that raw scores of a configuration stand for."""
        share = float(np.mean(self.y[division.part.fit_rows] == 1))
        return fitted_share(share, self.study.config(cell).settings)

    def score(self, cell: Cell, seeds: Sequence[Sequence[tuple[TrialResult, int]]]) -> HeldLine:
        """Score one configuration, of which each seed has a trial a division."""
        judged = [
            [_Judged.build(self, division, *seed[place], prior=self.prior(cell, division)) for seed in seeds]
            for place, division in enumerate(self.held.divisions)
        ]

        def measure(weights: FloatArray) -> Mapping[str, FloatArray]:
            of_values = [[one.measure(weights) for one in ones] for ones in judged]
            return {
                name: np.stack([np.mean([one[name] for one in ones], axis=0) for ones in of_values], axis=1)
                for name in FIGURES
            }

        resampled = resample(measure, self.n_sets)
        n_groups = {name: [ones[0].count(name) for ones in judged] for name in FIGURES}
        scores = tuple(
            HeldScore(
                division.value,
                tuple(one.threshold for one in judged[place]),
                {
                    name: bound(values[:, place], n_groups[name][place], scale="logit")
                    for name, values in resampled.items()
                    if n_groups[name][place]
                },
            )
            for place, division in enumerate(self.held.divisions)
        )
        mean = {}
        for name, values in resampled.items():
            known = [place for place, n in enumerate(n_groups[name]) if n]
            if known:
                least = min(n_groups[name][place] for place in known)
                mean[name] = bound(values[:, known].mean(axis=1), least, scale="logit")
        return HeldLine(cell, scores, mean)


@dataclass(frozen=True)
class _Judged:
    """What one head says of the rows of one division."""

    threshold: float
    ranked: RankedScores
    decisions: DecisionCounts

    @classmethod
    def build(cls, judge: _Judge, division: HeldOut, result: TrialResult, place: int, *, prior: float) -> _Judged:
        assert result.p_ai is not None
        p_ai = np.zeros(len(judge.y), dtype=np.float32)
        p_ai[division.part.score_rows] = result.p_ai[place]
        rows, y, sets = division.calibrating, judge.y, judge.sets
        scores = Scores(y[rows], p_ai[None, rows], sets[rows])
        threshold = choose_balanced(scores, prior=prior) if scores.has_all_classes else neutral_threshold(prior)
        tested = division.tested
        said = (p_ai[tested].astype(np.float64) >= threshold).astype(np.int64)
        counts = DecisionCounts.count(y[tested], said, sets[tested], n_classes=2)
        return cls(threshold, RankedScores.sort(y[tested], p_ai[tested], sets[tested]), counts)

    def count(self, name: str) -> int:
        """Return how many sets a figure rests on: of its classes that which has fewest; 0 where one has none."""
        return min(self.decisions.count_groups(code) for code in FIGURES[name])

    def measure(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return the figures under each weighting of the sets, NaN where there are no rows: weights (n, n_sets)."""
        confusion = self.decisions.confusion(weights)
        auc = self.ranked.measure(weights, ())["auc"] if self.count("auc") else np.full(len(weights), np.nan)
        return {"tpr": true_positive_rate(confusion), "fpr": false_positive_rate(confusion), "auc": auc}


def _figures(figures: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: figures[name].to_dict() if name in figures else None for name in FIGURES}
