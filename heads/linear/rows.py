"""Training and select rows as the solvers of a linear head ask for them: standardised, task by task."""

from __future__ import annotations

from functools import cached_property

from heads.data.tasks import IntArray, Targets, Task
from heads.head.moments import Moments
from heads.head.protocol import FloatArray
from heads.head.scaling import Standardizer
from heads.head.shared_moments import PartMoments
from heads.linear.logistic import Curvature

__all__ = ["LinearRows"]


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
    """

    def __init__(self, rows: FloatArray | PartMoments, targets: Targets, *, select: tuple[FloatArray, Targets]) -> None:
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

    def moments(self, task: Task) -> Moments:
        """Return the moments of the standardised rows of a task, grouped by the classes that occur."""
        assert self._part is not None
        return self._part.of_task(task).transform(self.scaler.mean, self.scaler.inverse_scale)

    @cached_property
    def curvature(self) -> Curvature:
        """Of the standardised rows of all tasks."""
        return Curvature.of(self._standardised)

    @cached_property
    def _standardised(self) -> FloatArray:
        assert self._X is not None
        return self.scaler.transform(self._X)
