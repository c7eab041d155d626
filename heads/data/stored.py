"""Vectors that stay in the store until they are asked for: several views, more rows than memory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from featcache import FeatureStore, Selection
from heads.data.columns import Columns
from heads.errors import HeadsError
from heads.head.protocol import FloatArray

__all__ = ["StoredRows"]

IntArray = NDArray[np.int64]


class StoredRows:
    """A `heads.data.row_source.RowSource` over a store.

    Parameters
    ----------
    store : FeatureStore
    views : sequence of mapping of modality to Selection
        For each view what stands for each modality, in the order of the columns; the first is the clean one.
    numbers : int array (n,)
        The rows, as numbers in the manifest.
    """

    def __init__(self, store: FeatureStore, views: Sequence[Mapping[str, Selection]], numbers: IntArray) -> None:
        layouts = [
            Columns.build({m: dict(zip(s.outputs, s.widths, strict=True)) for m, s in selections.items()})
            for selections in views
        ]
        for selections, layout in zip(views, layouts, strict=True):
            if layout != layouts[0]:
                named = ", ".join(selection.view for selection in selections.values())
                raise HeadsError(f"view {named!r} has other outputs than the first view: choose outputs that all have")
        self.columns = layouts[0]
        self._parts = [[store.rows(selection) for selection in selections.values()] for selections in views]
        self._numbers = numbers

    @property
    def n_views(self) -> int:
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
