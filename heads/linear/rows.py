"""Training and select rows as the solvers of a linear head ask for them: standardised, task by task."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task
from heads.head.balance import task_weights
from heads.head.class_scores import Scores
from heads.head.moments import Moments
from heads.head.protocol import FloatArray
from heads.head.scaling import Standardizer
from heads.head.shared_moments import PartMoments
from heads.linear.bend import Bend
from heads.linear.logistic import Curvature

__all__ = ["LinearRows"]

Float64Array = NDArray[np.float64]
Measure = Callable[[Standardizer], Float64Array | None]


class LinearRows:
    """Rows of one fit; the standardised matrix, its curvature and moments are worked out once, if asked for.

    Parameters
    ----------
    rows : float32 array (n, d), or PartMoments
        The rows themselves, or their moments where the solver asks for no more: the first have no `moments`, the
        second no `X` and no `curvature`.
    targets : Targets
        Of these rows.
    select : (float32 array (m, d), Targets)
    n_views : int
        That the head learns from.
    measure : callable, optional
        Returns how views differ, of rows standardised so (`measure_differences`); default: there is one view.
    balance : str
        What weighs the same, see `heads.head.balance`.
    """

    def __init__(
        self,
        rows: FloatArray | PartMoments,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        n_views: int = 1,
        measure: Measure | None = None,
        balance: str = "none",
    ) -> None:
        self.n_views, self._measure = n_views, measure
        self._balance = balance
        self._bend: Bend | None = None
        self._last: tuple[float, LinearRows] | None = None
        self._part: PartMoments | None = None
        self._X: FloatArray | None = None
        if isinstance(rows, PartMoments):
            self._part, self._targets = rows, targets
            self.scaler = Standardizer.of(rows.labelled())
        else:
            labelled = targets.labelled
            self._X, self._targets = (rows, targets) if labelled.all() else (rows[labelled], targets.select(labelled))
            self.scaler = Standardizer.fit(self._X)
        self._X_select, self._select = self.scaler.transform(select[0]), select[1]

    def y(self, task: Task) -> IntArray:
        """Return the classes of the rows of a task."""
        return self._targets.y[task.name][self._targets.applies[task.name]]

    def X(self, task: Task) -> FloatArray:
        """Return the standardised rows of a task, in the order of `y`."""
        rows = self._targets.applies[task.name]
        return self._standardised if rows.all() else self._standardised[rows]

    def select(self, task: Task) -> tuple[FloatArray, IntArray]:
        """Return the standardised select rows of a task, and their classes."""
        rows = self._select.applies[task.name]
        return self._X_select if rows.all() else self._X_select[rows], self._select.y[task.name][rows]

    def weights(self, task: Task) -> Float64Array | None:
        """Return what the rows of a task weigh, in the order of `y`; None where all weigh the same."""
        return task_weights(self._targets, task, self._balance, rows=self._targets.applies[task.name])

    def select_weights(self, task: Task) -> Float64Array | None:
        """Return what the select rows of a task weigh."""
        return task_weights(self._select, task, self._balance, rows=self._select.applies[task.name])

    def moments(self, task: Task) -> Moments:
        """Return the moments of the standardised rows of a task, grouped by the classes that occur."""
        assert self._part is not None
        return self._part.of_task(task).transform(self.scaler.mean, self.scaler.inverse_scale)

    @cached_property
    def differences(self) -> Float64Array | None:
        """How views of the standardised rows differ: (d, d), or None."""
        return self._measure(self.scaler) if self._measure is not None else None

    def bent(self, invariance: float) -> LinearRows:
        """Return the rows in coordinates in which a ridge punishes what differs between views: those asked for last."""
        if invariance == 0:
            return self
        if self._last is None or self._last[0] != invariance:
            assert self.differences is not None
            chosen = copy(self)
            chosen._bend = Bend(self.differences, invariance)
            for name in ("curvature", "_standardised"):
                vars(chosen).pop(name, None)
            self._last = invariance, chosen
        return self._last[1]

    def straighten(self, scores: Scores) -> Scores:
        """Return scores of standardised rows, of those of the rows as they are given out."""
        coef, intercept = scores
        return (coef if self._bend is None else self._bend.straighten(coef)), intercept

    @cached_property
    def curvature(self) -> Curvature:
        """Of the standardised rows of all tasks."""
        return Curvature.of(self._standardised)

    @cached_property
    def _standardised(self) -> FloatArray:
        assert self._X is not None
        Z = self.scaler.transform(self._X)
        return Z if self._bend is None else self._bend.rows(Z)
