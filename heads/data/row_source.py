"""Where raw vectors are read: an array, or anything else that gives out rows of a view."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets
from heads.errors import HeadsError

__all__ = ["ArrayRows", "RowSource", "as_source", "read_views"]


class RowSource(Protocol):
    """Raw vectors of ``n_rows`` rows, in one view or several; view 0 is the clean one."""

    @property
    def n_views(self) -> int:
        """Number of views."""
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
    """Rows of an array (n, d), or (views, n, d), in float16 or float32."""

    def __init__(self, X: NDArray[Any]) -> None:
        if X.ndim not in (2, 3) or X.shape[-1] == 0:
            raise HeadsError(f"X has shape {X.shape!r}, expected (n_samples, n_features) or (n_views, …)")
        if X.dtype not in (np.float16, np.float32):
            raise HeadsError(f"X is {X.dtype}, expected float32 or float16: cast it where the features are read")
        self._X = X if X.ndim == 3 else X[None]

    @property
    def n_views(self) -> int:
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


def as_source(X: NDArray[Any] | RowSource) -> RowSource:
    """Return where rows are read from: an array is wrapped."""
    return ArrayRows(X) if isinstance(X, np.ndarray) else X


def read_views(source: RowSource, targets: Targets, rows: IntArray) -> tuple[NDArray[Any], Targets]:
    """Return some rows in all views, one view after the other, and their targets as often: (n_views * m, d)."""
    if source.n_views == 1:
        return source.read(rows), targets.select(rows)
    X = np.concatenate([source.read(rows, view) for view in range(source.n_views)])
    return X, targets.select(np.tile(rows, source.n_views))
