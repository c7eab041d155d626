"""How far one fact about samples alone tells their classes, against chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.audit.evidence import Evidence, cross_fit
from heads.audit.rows import FOLDS, AuditRows
from heads.data.tasks import IntArray, Task
from heads.statistics.decisions import DecisionCounts, macro_f1
from heads.statistics.intervals import Interval, difference_p_value, holm, t_interval
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import GroupSums, resample, standard_error

__all__ = ["Tell", "find_tells"]

FloatArray = NDArray[np.float64]
_LEVEL = 0.95
_WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))


@dataclass(frozen=True)
class Tell:
    """How far a fact tells the classes of a task.

    Attributes
    ----------
    fact, task : str
    figure : {"auc", "f1_macro"}
        Of task A: how often an AI row scores above a real one of the same fold. Of task B: the mean F1 of generators.
    n : int
        Rows that were scored.
    found : Interval
    chance : float
        Of ``auc`` 0.5; of ``f1_macro`` what decisions of the same frequencies would have that know nothing of the row.
    p_value : float
        Of there being no difference from chance, two-sided, adjusted by Holm for all tells that were measured together.
    tells : bool
        Whether the figure is above chance at 95 % confidence for the whole table.
    """

    fact: str
    task: str
    figure: str
    n: int
    found: Interval
    chance: float
    p_value: float
    tells: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**vars(self), "found": self.found.to_dict()}


def find_tells(evidence: Sequence[Evidence], rows: AuditRows) -> tuple[Tell, ...]:
    """Measure each fact on each task of which it knows rows of two classes.

    Out of fold: what a row is scored by was learnt of rows of other groups. Resamples of the scored groups know
    nothing of what else would have been learnt of other rows, so that standard errors are widened, one and a half
    times with five folds (Nadeau and Bengio, "Inference for the generalization error", 2003, section 3).
    """
    found = []
    for task in rows.features.tasks:
        for each in evidence:
            tell = _measure(each, rows, task)
            if tell is not None:
                found.append(tell)
    adjusted = holm([each.p_value for each in found])
    return tuple(
        replace(each, p_value=float(p), tells=bool(p < 1 - _LEVEL and each.found.estimate > each.chance))
        for each, p in zip(found, adjusted, strict=True)
    )


def _measure(evidence: Evidence, rows: AuditRows, task: Task) -> Tell | None:
    scores = cross_fit(evidence, rows, task)
    scored = ~np.isnan(scores[:, 0])
    y = rows.y(task)[scored]
    if len(np.unique(y)) < 2:
        return None
    groups = rows.renumber(scored)
    n_groups = int(groups.max()) + 1
    if task.kind == "binary":
        pairs = _Pairs.build(y, scores[scored, 1] - scores[scored, 0], groups, rows.fold[scored])
        resampled = resample(pairs.measure, n_groups)
        n_groups = min(len(np.unique(groups[y == code])) for code in (0, 1))
        figure = "auc"
    else:
        counts = DecisionCounts.count(y, scores[scored].argmax(axis=1), groups, n_classes=len(task.classes))
        resampled = resample(partial(_agree, counts), n_groups)
        figure = "f1_macro"
    if np.isnan(resampled["found"][0]):
        return None
    excess = resampled["found"] - resampled["chance"]
    p_value = difference_p_value(float(excess[0]), _WIDER * standard_error(excess[1:]), n_groups)
    estimate, se = float(resampled["found"][0]), _WIDER * standard_error(resampled["found"][1:])
    return Tell(
        fact=evidence.name,
        task=task.name,
        figure=figure,
        n=int(scored.sum()),
        found=t_interval(estimate, se, n_groups, scale="logit", level=_LEVEL),
        chance=float(resampled["chance"][0]),
        # Of a few groups resamples may all agree: no test is surer than that of as many signs.
        p_value=max(p_value, 2.0 ** (1 - n_groups)),
        tells=False,
    )


@dataclass(frozen=True)
class _Pairs:
    """Rows of both classes, fold by fold: the scores of two folds come from two fits, and are not compared.

    Pooling them puts the figure below chance where nothing is to be told (Parker, Günter and Bedo, "Stratification
    bias in low signal microarray studies", 2007).
    """

    folds: tuple[tuple[RankedScores, GroupSums], ...]

    @classmethod
    def build(cls, y: IntArray, scores: FloatArray, groups: IntArray, fold: IntArray) -> _Pairs:
        folds = []
        for number in np.unique(fold):
            own = fold == number
            if len(np.unique(y[own])) == 2:
                ranked = RankedScores.sort(y[own], scores[own], groups[own])
                folds.append((ranked, GroupSums.build(y[own], groups[own], n_cells=2)))
        return cls(tuple(folds))

    def measure(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return the share of pairs in the right order, under each weighting of the groups."""
        right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for ranked, sums in self.folds:
            n = sums.weigh(weights).prod(axis=1)
            right += np.where(n > 0, ranked.measure(weights, ())["auc"], 0.0) * n
            pairs += n
        found = np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
        return {"found": found, "chance": np.full(len(weights), 0.5)}


def _agree(counts: DecisionCounts, weights: FloatArray) -> dict[str, FloatArray]:
    """Return macro F1, and that of decisions of the same frequencies that are independent of the truth."""
    confusion = counts.confusion(weights)
    total = np.maximum(confusion.sum(axis=(1, 2)), 1)[:, None, None]
    independent = confusion.sum(axis=2)[:, :, None] * confusion.sum(axis=1)[:, None, :] / total
    return {"found": macro_f1(confusion), "chance": macro_f1(independent)}
