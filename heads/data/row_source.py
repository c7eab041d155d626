"""Where raw vectors are read: an array, a store, or anything else that gives out rows of a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache import FeatureStore, Selection
from heads.data.columns import Columns
from heads.data.tasks import IntArray, Targets
from heads.errors import HeadsError

__all__ = ["ArrayRows", "RowSource", "StackedViews", "StoredRows", "ViewDifferences", "as_source", "read_views"]

FloatArray = NDArray[np.float32]


class RowSource(Protocol):
    """Raw vectors of ``n_rows`` rows, in one view or several; view 0 is the clean one.

    Views 0 … ``n_views - 1`` are those to learn from and to choose by. Those after them, up to ``n_all_views``, show no
    more than how views differ: `ViewDifferences`.
    """

    @property
    def n_views(self) -> int:
        """Number of views to learn from."""
        ...

    @property
    def n_all_views(self) -> int:
        """Number of views, ``n_views`` or more."""
        ...

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        ...

    def read(self, rows: IntArray, view: int = 0) -> NDArray[Any]:
        """Return some rows of a view, float16 or float32, in the order asked for."""
        ...


class ArrayRows:
    """Rows of an array (n, d), or (views, n, d), in float16 or float32; all views but the last ``n_further`` teach."""

    def __init__(self, X: NDArray[Any], *, n_further: int = 0) -> None:
        if X.ndim not in (2, 3) or X.shape[-1] == 0:
            raise HeadsError(f"X has shape {X.shape!r}, expected (n_samples, n_features) or (n_views, …)")
        if X.dtype not in (np.float16, np.float32):
            raise HeadsError(f"X is {X.dtype}, expected float32 or float16: cast it where the features are read")
        self._X, self._n_further = X if X.ndim == 3 else X[None], n_further

    @property
    def n_views(self) -> int:
        """Number of views to learn from."""
        return len(self._X) - self._n_further

    @property
    def n_all_views(self) -> int:
        """Number of views."""
        return len(self._X)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self._X.shape[1])

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self._X.shape[2])

    def read(self, rows: IntArray, view: int = 0) -> NDArray[Any]:
        """Return some rows of a view."""
        return np.asarray(self._X[view][rows])


class StoredRows:
    """Vectors that stay in a store until they are asked for: several views, more rows than memory holds.

    Parameters
    ----------
    store : FeatureStore
    views : sequence of mapping of modality to Selection
        For each view what stands for each modality, in the order of the columns; the first is the clean one.
    numbers : int array (n,)
        The rows, as numbers in the manifest.
    n_further : int
        How many of the last views show no more than how views differ.
    """

    def __init__(
        self,
        store: FeatureStore,
        views: Sequence[Mapping[str, Selection]],
        numbers: IntArray,
        *,
        n_further: int = 0,
    ) -> None:
        layouts = [Columns.of_selections(selections) for selections in views]
        for selections, layout in zip(views, layouts, strict=True):
            if layout != layouts[0]:
                named = ", ".join(selection.view for selection in selections.values())
                raise HeadsError(f"view {named!r} has other outputs than the first view: choose outputs that all have")
        self.columns = layouts[0]
        self._parts = [[store.rows(selection) for selection in selections.values()] for selections in views]
        self._numbers, self._n_further = numbers, n_further

    @property
    def n_views(self) -> int:
        """Number of views to learn from."""
        return len(self._parts) - self._n_further

    @property
    def n_all_views(self) -> int:
        """Number of views."""
        return len(self._parts)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self._numbers)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.columns.width

    def select(self, rows: IntArray) -> StoredRows:
        """Return some rows, in the order of ``rows``; their places are shared, not looked up again."""
        chosen = copy(self)
        chosen._numbers = self._numbers[rows]
        return chosen

    def read(self, rows: IntArray, view: int = 0) -> FloatArray:
        """Return some rows of a view, (m, d) float32; NaN where a sample has no vector."""
        numbers = self._numbers[rows]
        out = np.empty((len(rows), self.n_columns), dtype=np.float32)
        start = 0
        for part in self._parts[view]:
            part.read(numbers, out=out[:, start : start + part.width])
            start += part.width
        return out


class StackedViews:
    """Some rows of a source in all views to learn from, as rows of one view: those of a view after those of another.

    Parameters
    ----------
    source : RowSource
    rows : int array (m,)
        Row ``v * m + i`` is the i-th of them in view v.
    """

    n_views = n_all_views = 1

    def __init__(self, source: RowSource, rows: IntArray) -> None:
        self._source, self._rows = source, rows
        self.n_rows, self.n_columns = source.n_views * len(rows), source.n_columns

    def read(self, rows: IntArray, view: int = 0) -> FloatArray:
        """Return some rows, (m, d) float32."""
        of_view, places = np.divmod(rows, len(self._rows))
        out = np.empty((len(rows), self.n_columns), dtype=np.float32)
        for number in np.unique(of_view):
            wanted = of_view == number
            out[wanted] = self._source.read(self._rows[places[wanted]], int(number))
        return out


class ViewDifferences:
    """Some rows of a source in each view but the clean one, less the same row in the clean one.

    Parameters
    ----------
    source : RowSource
        Of several views, with or without those that show no more than this.
    rows : int array (m,)
        Row ``v * m + i`` is the i-th of them in view v + 1.
    """

    n_views = n_all_views = 1

    def __init__(self, source: RowSource, rows: IntArray) -> None:
        self._source, self._rows = source, rows
        self.n_rows, self.n_columns = (source.n_all_views - 1) * len(rows), source.n_columns

    def read(self, rows: IntArray, view: int = 0) -> FloatArray:
        """Return some differences, (m, d) float32."""
        of_view, places = np.divmod(rows, len(self._rows))
        clean = np.asarray(self._source.read(self._rows[places]), dtype=np.float32)
        out = np.empty_like(clean)
        for number in np.unique(of_view):
            wanted = of_view == number
            out[wanted] = self._source.read(self._rows[places[wanted]], int(number) + 1)
        return np.subtract(out, clean, out=out)


def as_source(X: NDArray[Any] | RowSource) -> RowSource:
    """Return where rows are read from: an array is wrapped."""
    return ArrayRows(X) if isinstance(X, np.ndarray) else X


def read_views(source: RowSource, targets: Targets, rows: IntArray) -> tuple[NDArray[Any], Targets]:
    """Return some rows in all views, one view after the other, and their targets as often: (n_views * m, d)."""
    if source.n_views == 1:
        return source.read(rows), targets.select(rows)
    X = np.concatenate([source.read(rows, view) for view in range(source.n_views)])
    return X, targets.select(np.tile(rows, source.n_views))
