"""A head of an ensemble, and the columns that it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.data.row_source import RowSource
from heads.data.tasks import IntArray
from heads.head.protocol import FloatArray, Head, Prediction

__all__ = ["Member", "Ranges", "first_unused"]

Ranges = tuple[tuple[int, int], ...]
"""First column and the one after the last, of each piece; a head sees the pieces side by side."""


@dataclass(frozen=True)
class Member:
    """A head and its columns; None: all that there are."""

    head: Head
    ranges: Ranges | None

    def take(self, X: FloatArray) -> FloatArray:
        """Return the columns of ``X`` (n, d) that are the head's."""
        return X if self.ranges is None else _take(X, self.ranges)

    def take_rows(self, source: RowSource, *, sees_further: bool) -> RowSource:
        """Return the same rows with the head's columns; without the views that show only how views differ, or with."""
        return _MemberRows(source, self.ranges, source.n_all_views if sees_further else source.n_views)

    def predict(self, X: FloatArray) -> Prediction:
        """Return what the head says of rows of all columns."""
        return self.head.predict_proba(self.take(X))


def first_unused(ranges: Iterable[Ranges], n_columns: int) -> int | None:
    """Return the first of so many columns that nobody takes; None: there is none."""
    reached = 0
    for start, stop in sorted(piece for pieces in ranges for piece in pieces):
        if start > reached:
            break
        reached = max(reached, stop)
    return reached if reached < n_columns else None


class _MemberRows:
    """The rows of another source, with some columns and views of theirs."""

    def __init__(self, source: RowSource, ranges: Ranges | None, n_all_views: int) -> None:
        self._source, self._ranges, self.n_all_views = source, ranges, n_all_views

    @property
    def n_views(self) -> int:
        return self._source.n_views

    @property
    def n_rows(self) -> int:
        return self._source.n_rows

    @property
    def n_columns(self) -> int:
        return sum(stop - start for start, stop in self._ranges or ((0, self._source.n_columns),))

    def read(self, rows: IntArray, view: int = 0) -> NDArray[np.float16] | NDArray[np.float32]:
        found = self._source.read(rows, view)
        return found if self._ranges is None else _take(found, self._ranges)


def _take(X: FloatArray, ranges: Ranges) -> FloatArray:
    return np.concatenate([X[:, start:stop] for start, stop in ranges], axis=1)
