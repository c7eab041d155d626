"""Fits of one task with strengths of a grid, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Task
from heads.errors import HeadsError
from heads.head.class_scores import calibrate
from heads.head.linear_layers import Layer
from heads.head.protocol import FloatArray
from heads.head.selecting import choose_criterion, task_merit
from heads.lda.config import GAMMA, LABELS, SHRINKAGE, LdaConfig
from heads.lda.discriminants import invariant_scores
from heads.lda.rows import ViewMoments
from heads.lda.search import Place, climb, every_place

__all__ = ["SelectRows", "Strengths", "fit_task"]

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Strengths:
    """What a fit of one task is made with: see `LdaConfig`."""

    labels: str
    gamma: float
    shrinkage: float

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        """Read the strengths of an untrusted file."""
        if not isinstance(value, dict) or set(value) != set(cls.__dataclass_fields__) or value["labels"] not in LABELS:
            raise HeadsError(f"{where} has strengths {value!r:.80}, expected labels, gamma and shrinkage")
        GAMMA.check(value["gamma"], f"gamma of {where}")
        SHRINKAGE.check(value["shrinkage"], f"shrinkage of {where}")
        return cls(**value)


@dataclass(frozen=True)
class SelectRows:
    """Standardised select rows of one task, in all views to learn from.

    Attributes
    ----------
    X : float32 array (m, d)
    y : int array (m,)
        Their classes.
    weights : float64 array (m,) or None
        What they weigh; None where all weigh the same.
    """

    X: FloatArray
    y: IntArray
    weights: NDArray[np.float64] | None


def fit_task(
    task: Task, rows: ViewMoments, config: LdaConfig, *, select: SelectRows, report: Report
) -> tuple[Layer, Strengths]:
    """Fit a task with strengths of the config; return the fit that its select rows prefer, and its strengths.

    Parameters
    ----------
    task : Task
    rows : ViewMoments
    config : LdaConfig
    select : SelectRows
    report : callable
        Given the record of each fit.
    """
    gammas, shrinkages = sorted(set(config.gammas)), sorted(set(config.shrinkages))
    if rows.differences is None:
        gammas = [0.0]  # of no differences
    elif rows.n_views == 1:
        # Clean select rows cannot tell what it is worth to hold under other views: they would say nothing.
        gammas = [gammas[len(gammas) // 2]]
    sizes = len(gammas), len(shrinkages)
    place: Place = tuple(size // 2 for size in sizes)
    searches = bool(len(select.y)) and len(rows.classes(task)) > 1
    smooth = choose_criterion(task, n_views=rows.n_views) == "log_loss"
    ends: list[_Fit] = []
    for labels in rows.labels if searches else rows.labels[:1]:
        fits = _Fits(task, labels, rows, select=select, has_priors=config.balance == "none", report=report)

        def merit(at: Place, fits: _Fits = fits) -> tuple[float, float]:
            return fits.at(gammas[at[0]], shrinkages[at[1]]).merit

        if searches:
            place = climb(sizes, place, merit) if smooth else max(every_place(sizes), key=merit)
        ends.append(fits.at(gammas[place[0]], shrinkages[place[1]]))
    best = max(ends, key=lambda fit: fit.merit) if searches else ends[0]
    return best.layer, best.strengths


@dataclass(frozen=True)
class _Fit:
    """A fit, and what is largest for the best one: without select rows of the task nothing is."""

    strengths: Strengths
    layer: Layer
    merit: tuple[float, float]


class _Fits:
    """Fits of a task with labels of the same views, each made once."""

    def __init__(
        self,
        task: Task,
        labels: str,
        rows: ViewMoments,
        *,
        select: SelectRows,
        has_priors: bool,
        report: Report,
    ) -> None:
        self._task, self._labels, self._rows = task, labels, rows
        self._moments, self._present = rows.of_task(task, labels), rows.classes(task)
        self._select, self._has_priors, self._report = select, has_priors, report
        self.at = cache(self._fit)

    def _fit(self, gamma: float, shrinkage: float) -> _Fit:
        task, select, strengths = self._task, self._select, Strengths(self._labels, gamma, shrinkage)
        scores = invariant_scores(
            self._moments, self._rows.differences, gamma=gamma, shrinkage=shrinkage, has_priors=self._has_priors
        )
        ((logits, factor),) = calibrate([scores], self._present, select.X, select.y, weights=select.weights)
        layer = Layer.build(task, self._present, logits)
        judged = layer.score(task, select.X, select.y, weights=select.weights)
        self._report({"task": task.name, **asdict(strengths), "factor": factor, **judged})
        score, loss = judged["score"], judged["select_loss"]
        if score is None or loss is None:
            return _Fit(strengths, layer, (0.0, 0.0))
        return _Fit(strengths, layer, task_merit(task, n_views=self._rows.n_views, score=score, select_loss=loss))
