"""What linear discriminants ask of the rows to fit: moments of their classes, and of how their views differ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heads.data.row_source import RowSource, StackedViews
from heads.data.tasks import IntArray, Targets, Task
from heads.head.moments import Moments
from heads.head.scaling import Standardizer
from heads.head.shared_moments import SharedMoments
from heads.head.view_differences import measure_differences
from heads.lda.config import LABELS

__all__ = ["ViewMoments"]


class ViewMoments:
    """Moments of rows in one view or several; a block of rows is in memory at a time.

    Parameters
    ----------
    source : RowSource
    targets : Targets
        Of all its rows.
    rows : int array (m,)
        Those to fit. Rows without any label take part in nothing but `differences`.
    labels : sequence of str
        Which of `LABELS` will be asked for. Only where "views" is among them are moments of all views taken.

    Attributes
    ----------
    scaler : Standardizer
        Of the labelled rows in all views that moments are taken of.
    n_views : int
        Views to learn from.
    labels : list of str
        In the order of `LABELS`.
    """

    def __init__(self, source: RowSource, targets: Targets, rows: IntArray, *, labels: Sequence[str]) -> None:
        self._source, self._rows, self.n_views = source, rows, source.n_views
        self._targets, self.labels = targets.select(rows), [name for name in LABELS if name in labels]
        every = np.arange(self.n_views * len(rows))
        parts = [every[: len(rows)] if name == "clean" else every for name in self.labels]
        tiled = targets.select(np.tile(rows, self.n_views))
        self._shared = SharedMoments(StackedViews(source, rows), tiled, parts)
        self.scaler = Standardizer.of(self._shared.labelled(len(parts) - 1))

    def of_task(self, task: Task, labels: str) -> Moments:
        """Return the moments of the standardised rows of a task, grouped by the classes that occur.

        Parameters
        ----------
        task : Task
        labels : {"clean", "views"}
            Which views count as rows of their class.
        """
        found = self._shared.of_task(self.labels.index(labels), task)
        return found.transform(self.scaler.mean, self.scaler.inverse_scale)

    def classes(self, task: Task) -> IntArray:
        """Return the classes that occur among the rows of a task, ascending."""
        return np.unique(self._targets.y[task.name][self._targets.applies[task.name]])

    @cached_property
    def differences(self) -> NDArray[np.float64] | None:
        """What `measure_differences` says of these rows."""
        return measure_differences(self._source, self._rows, self.scaler)
