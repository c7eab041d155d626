"""The figures of one detector in one view, each under many weightings of the groups: decisions, ranking, probabilities.

Figures are kept apart by what they depend on: decisions on one frozen threshold, rankings on the order of scores
alone, probabilities on the map and the prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from heads.data.tasks import REAL, UNKNOWN, IntArray
from heads.evaluation.detectors import Scored
from heads.evaluation.truth import Truth
from heads.statistics.decisions import (
    DecisionCounts,
    accuracy,
    balanced_accuracy,
    class_f1,
    false_positive_rate,
    macro_f1,
    true_positive_rate,
    weighted_f1,
)
from heads.statistics.intervals import Interval, Scale, bound
from heads.statistics.probability import ProbabilitySums, calibration_floor, prior_weights
from heads.statistics.ranking import FPRS, RankedScores
from heads.statistics.resampling import FloatArray, resample
from heads.verdicts.points import OperatingPoint

__all__ = ["N_RESAMPLES", "Figure", "Figures", "measure_all"]

N_RESAMPLES = 500
REAL_CODE, AI_CODE, UNSURE_DECISION = 0, 1, 2


@dataclass(frozen=True)
class Figure:
    """What a figure is called, and how it is bounded.

    Attributes
    ----------
    section : {"decisions", "ranking", "probabilities"}
    name : str
    classes : tuple of int
        Classes of task A whose rows it is of: as many groups as the one has that has fewest count.
    scale : {"identity", "logit", "log"}
    least : int
        Groups of real rows below which it has no interval: fewer know nothing of so small a false positive rate.
    """

    section: str
    name: str
    classes: tuple[int, ...]
    scale: Scale = "logit"
    least: int = 0


OF_A = (
    Figure("decisions", "fpr", (0,)),
    Figure("decisions", "tpr", (1,)),
    Figure("decisions", "balanced_accuracy", (0, 1)),
    Figure("decisions", "precision", (0, 1)),
    Figure("decisions", "accuracy", ()),
    Figure("decisions", "f1_binary", (1,)),
    Figure("decisions", "f1_macro", ()),
    Figure("decisions", "f1_weighted", ()),
    Figure("decisions", "unsure", ()),
    Figure("ranking", "auc", (0, 1)),
    Figure("ranking", "average_precision", (1,)),
    Figure("ranking", "tpr_at_fpr_0.01", (0, 1), least=300),
    Figure("ranking", "tpr_at_fpr_0.05", (0, 1), least=60),
    Figure("ranking", "partial_auc_0.05", (0, 1), least=60),
    Figure("probabilities", "nll", (0, 1), "log"),
    Figure("probabilities", "brier", (0, 1), "log"),
    Figure("probabilities", "ece", (0, 1), "log"),
)
OF_B = (
    Figure("decisions", "b_accuracy", (1,)),
    Figure("decisions", "b_f1_macro", (1,)),
    Figure("decisions", "b_f1_weighted", (1,)),
    Figure("decisions", "joint_accuracy", ()),
    Figure("decisions", "joint_f1_macro", ()),
    Figure("decisions", "joint_f1_weighted", ()),
    Figure("probabilities", "b_nll", (1,), "log"),
    Figure("probabilities", "b_brier", (1,), "log"),
    Figure("probabilities", "b_ece", (1,), "log"),
)


@dataclass(frozen=True)
class Figures:
    """What one detector says of the rows of a truth, ready to be measured.

    Attributes
    ----------
    truth : Truth
        The rows that it answers.
    scored : Scored
        In the same order.
    point : OperatingPoint
    prior : float or None
        Share of AI at which probabilities are judged; None: as the rows are.
    """

    truth: Truth
    scored: Scored
    point: OperatingPoint
    prior: float | None

    @property
    def decision(self) -> IntArray:
        """0 real, 1 AI, 2 unsure, at the operating point: (n,)."""
        found = self.point.is_ai(self.scored.raw).astype(np.int64)
        found[self.point.is_unsure(self.scored.raw)] = UNSURE_DECISION
        return found

    @cached_property
    def y_b(self) -> IntArray:
        """Index of the true generator among those the detector knows, -1 elsewhere: (n,)."""
        places = {name: code for code, name in enumerate(self.scored.generators)}
        return np.array([places.get(name, UNKNOWN) for name in self.truth.generator.tolist()], dtype=np.int64)

    @property
    def listed(self) -> tuple[Figure, ...]:
        """Which figures there are."""
        of_a = [figure for figure in OF_A if figure.name != "unsure" or self.point.abstains]
        return (*of_a, *(OF_B if self.knows_b else ()))

    @cached_property
    def knows_b(self) -> bool:
        """Whether generators are told apart, and rows of some that are known are there."""
        return self.scored.of_generator is not None and bool((self.y_b >= 0).any())

    @cached_property
    def _decisions(self) -> DecisionCounts:
        return DecisionCounts.count(self.truth.y, self.decision, self.truth.groups, n_classes=2, n_decisions=3)

    @cached_property
    def _ranked(self) -> RankedScores:
        return RankedScores.sort(self.truth.y, self.scored.raw, self.truth.groups)

    @cached_property
    def _probabilities(self) -> ProbabilitySums:
        both = len(np.unique(self.truth.y)) == 2
        return ProbabilitySums.of_binary(
            self.truth.y, self.scored.p_ai, self.truth.groups, prior=self.prior if both else None
        )

    @cached_property
    def _of_b(self) -> tuple[DecisionCounts, ProbabilitySums]:
        assert self.scored.of_generator is not None
        rows = self.y_b >= 0
        y, proba, groups = self.y_b[rows], self.scored.of_generator[rows], self.truth.groups[rows]
        counts = DecisionCounts.count(y, proba.argmax(axis=1), groups, n_classes=len(self.scored.generators))
        return counts, ProbabilitySums.of_multiclass(y, proba, groups)

    @cached_property
    def _joint(self) -> DecisionCounts:
        """Count verdicts over the rows whose joint class is known; the last decision is unsure."""
        assert self.scored.of_generator is not None
        n = 1 + len(self.scored.generators)
        known = (self.truth.y == REAL_CODE) | (self.y_b >= 0)
        said = np.where(self.decision == AI_CODE, 1 + self.scored.of_generator.argmax(axis=1), 0)
        said[self.decision == UNSURE_DECISION] = n
        y = np.where(self.truth.y == REAL_CODE, 0, 1 + self.y_b)
        return DecisionCounts.count(y[known], said[known], self.truth.groups[known], n_classes=n, n_decisions=n + 1)

    def measure(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return all figures by name, (n,), under each weighting of the groups: (n, n_groups)."""
        confusion, ranked = self._decisions.confusion(weights), self._ranked.measure(weights)
        found = {
            "fpr": false_positive_rate(confusion),
            "tpr": true_positive_rate(confusion),
            "balanced_accuracy": balanced_accuracy(confusion),
            "precision": self._precision(confusion),
            "f1_binary": class_f1(confusion)[:, AI_CODE],
            **_agreement(confusion),
            "unsure": confusion[:, :, UNSURE_DECISION].sum(axis=1) / confusion.sum(axis=(1, 2)),
            "auc": ranked["auc"],
            "average_precision": ranked["average_precision"],
            **{f"tpr_at_fpr_{fpr}": ranked["tpr_at_fpr"][:, k] for k, fpr in enumerate(FPRS)},
            "partial_auc_0.05": ranked["partial_auc"][:, FPRS.index(0.05)],
            **self._probabilities.measure(weights),
        }
        if self.knows_b:
            counts, sums = self._of_b
            parts = {"b": _agreement(counts.confusion(weights)) | sums.measure(weights)}
            parts["joint"] = _agreement(self._joint.confusion(weights))
            found |= {f"{task}_{name}": values for task, part in parts.items() for name, values in part.items()}
        return {figure.name: found[figure.name] for figure in self.listed}

    def _precision(self, confusion: FloatArray) -> FloatArray:
        """Return the share of rows called AI that are AI: at the prior, else as the rows are."""
        if self.prior is None:
            hits, false = confusion[:, 1, AI_CODE], confusion[:, 0, AI_CODE]
        else:
            hits = self.prior * true_positive_rate(confusion)
            false = (1 - self.prior) * false_positive_rate(confusion)
        said = hits + false
        return np.asarray(np.divide(hits, said, out=np.full(len(said), np.nan), where=said > 0))

    def count_groups(self, figure: Figure) -> int:
        """Return how many groups a figure rests on: of those of its classes the fewest."""
        y, groups = self.truth.y, self.truth.groups
        if figure.name.startswith("b_"):
            return len(np.unique(groups[self.y_b >= 0]))
        return min((len(np.unique(groups[y == code])) for code in figure.classes), default=self.truth.n_groups)

    @property
    def n_real_groups(self) -> int:
        """Groups that have real rows."""
        return len(np.unique(self.truth.groups[self.truth.y == REAL_CODE]))

    def floors(self) -> dict[str, float]:
        """Return the calibration errors to expect of true probabilities: ``ece``, ``b_ece``."""
        y, weights = self.truth.y, None
        if self.prior is not None and len(np.unique(y)) == 2:
            weights = prior_weights(y, self.prior)
        found = {"ece": calibration_floor(self.scored.p_ai, weights)}
        if self.knows_b:
            assert self.scored.of_generator is not None
            found["b_ece"] = calibration_floor(self.scored.of_generator[self.y_b >= 0].max(axis=1))
        return found

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return how many rows of each class were called what."""
        table = self._decisions.confusion(np.ones((1, self.truth.n_groups)))[0].astype(int)
        said = (REAL, "ai", "unsure") if self.point.abstains else (REAL, "ai")
        return {
            name: {word: int(table[code, k]) for k, word in enumerate(said)} for code, name in enumerate((REAL, "ai"))
        }


def measure_all(figures: Figures, *, seed: int = 0) -> dict[str, dict[str, Interval]]:
    """Return every figure with its interval, by section and name."""
    resampled = resample(figures.measure, figures.truth.n_groups, n_resamples=N_RESAMPLES, seed=seed)
    found: dict[str, dict[str, Interval]] = {"decisions": {}, "ranking": {}, "probabilities": {}}
    for figure in figures.listed:
        n_groups = figures.count_groups(figure)
        each = bound(resampled[figure.name], n_groups, scale=figure.scale)
        if figure.least > figures.n_real_groups:
            each = replace(each, low=math.nan, high=math.nan)
        found[figure.section][figure.name] = each
    return found


def _agreement(confusion: FloatArray) -> dict[str, FloatArray]:
    return {
        "accuracy": accuracy(confusion),
        "f1_macro": macro_f1(confusion),
        "f1_weighted": weighted_f1(confusion),
    }
