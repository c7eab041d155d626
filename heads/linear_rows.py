"""Training and select rows as the solvers of a linear head ask for them: standardised, task by task."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from heads.cells import Cells
from heads.head import FloatArray
from heads.logistic import Curvature
from heads.moments import Moments
from heads.scaling import Standardizer
from heads.tasks import IntArray, Targets, Task

__all__ = ["LinearRows"]


class LinearRows:
    """Rows of one fit; the standardised matrix, its curvature and moments are worked out once, if asked for.

    Parameters
    ----------
    X : float32 array (n, d)
    targets : Targets
    select : (float32 array (m, d), Targets)
    cells : Cells, optional
        The moments of these rows, for solvers that need no more; without them there is no `moments`.
    part : int
        Which part of ``cells`` these rows are.
    """

    def __init__(
        self,
        X: FloatArray,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        cells: Cells | None = None,
        part: int = 0,
    ) -> None:
        labelled = np.any(list(targets.applies.values()), axis=0)
        self._X, self._targets = (X, targets) if labelled.all() else (X[labelled], targets.select(labelled))
        self._cells, self._part = cells, part
        self.scaler = Standardizer.of(cells.labelled(part)) if cells else Standardizer.fit(self._X)
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

    def moments(self, task: Task) -> Moments:
        """Return the moments of the standardised rows of a task, grouped by the classes that occur."""
        assert self._cells is not None
        return self._cells.of_task(self._part, task).transform(self.scaler.mean, self.scaler.inverse_scale)

    @cached_property
    def curvature(self) -> Curvature:
        """Of the standardised rows of all tasks."""
        return Curvature.of(self._standardised)

    @cached_property
    def _standardised(self) -> FloatArray:
        return self.scaler.transform(self._X)
