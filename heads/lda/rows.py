"""What linear discriminants ask of the rows to fit: moments of their classes, and of how their views differ."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heads.data.row_source import RowSource, StackedViews, ViewDifferences
from heads.data.tasks import IntArray, Targets, Task
from heads.head.moments import Moments
from heads.head.scaling import Standardizer
from heads.head.shared_moments import SharedMoments
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

    Attributes
    ----------
    scaler : Standardizer
        Of the labelled rows in all views to learn from.
    n_views : int
        Views to learn from.
    """

    def __init__(self, source: RowSource, targets: Targets, rows: IntArray) -> None:
        self._source, self._rows, self.n_views = source, rows, source.n_views
        self._targets = targets.select(rows)
        every = np.arange(source.n_views * len(rows))
        parts = [every[: len(rows)], every]
        tiled, parts = targets.select(np.tile(rows, self.n_views)), parts[: self.n_views]
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
        found = self._shared.of_task(min(LABELS.index(labels), self.n_views - 1), task)
        return found.transform(self.scaler.mean, self.scaler.inverse_scale)

    def classes(self, task: Task) -> IntArray:
        """Return the classes that occur among the rows of a task, ascending."""
        return np.unique(self._targets.y[task.name][self._targets.applies[task.name]])

    @cached_property
    def differences(self) -> NDArray[np.float64] | None:
        """The mean outer product of what a standardised row is in a view, less what it is in the clean one: (d, d).

        The mean is over rows and views, those included that show no more than this. None without a second view.
        """
        if self._source.n_all_views == 1:
            return None
        found = Moments.of(ViewDifferences(self._source, self._rows), dtype=np.float32)
        found = found.transform(np.zeros_like(self.scaler.mean), self.scaler.inverse_scale)
        return found.scatter / found.n + np.outer(found.means[0], found.means[0])
