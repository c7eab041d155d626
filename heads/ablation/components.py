"""Principal components of a matrix's columns, to stand in for them where a first look is enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.columns import Block, Columns
from heads.data.row_source import RowSource
from heads.data.tasks import IntArray
from heads.errors import HeadsError
from heads.head.scaling import Standardizer, draw_rows

__all__ = ["Components"]

_N_COMPONENTS = 256
_MEASURED_ROWS = 8192
_CHUNK = 8192


class Components:
    """Rows of a source as principal components of each modality, to stand in for it.

    The components are those of standardised columns, from at most 8,192 of the rows to learn from, clean view, turned
    at random within their space: as many columns of about equal variance, which no standardisation distorts any more.
    Blocks that a fusion maps with the same weights (``layers``) get the same components.

    Parameters
    ----------
    source : RowSource
    columns : Columns
        Its layout.
    rows : int array
        Those to learn from.
    is_shared : bool
        Whether all blocks are one space.
    """

    def __init__(self, source: RowSource, columns: Columns, *, rows: IntArray, is_shared: bool = False) -> None:
        sample = source.read(rows[draw_rows(len(rows), _MEASURED_ROWS, seed=0)]).astype(np.float32)
        self._scaler = Standardizer.fit(sample)
        X = self._scaler.transform(sample)
        self._bases: list[NDArray[np.float32]] = []
        blocks = []
        if is_shared:
            width = columns.blocks[0].width
            n = max(1, _N_COMPONENTS // len(columns.blocks))
            basis = _principal_axes(X.reshape(-1, width), min(n, width))
            self._bases = [basis] * len(columns.blocks)
            blocks = [Block(b.modality, b.output, basis.shape[1]) for b in columns.blocks]
        else:
            start = 0
            for modality, width in columns.widths.items():
                n = max(1, round(_N_COMPONENTS * width / columns.width))
                self._bases.append(_principal_axes(X[:, start : start + width], min(n, width)))
                blocks.append(Block(modality, "components", self._bases[-1].shape[1]))
                start += width
        self.columns = Columns(tuple(blocks))
        self.n_views = self.n_all_views = source.n_views
        self.n_rows, self.n_columns = source.n_rows, self.columns.width
        self._X = np.empty((self.n_views, self.n_rows, self.n_columns), np.float32)
        for view in range(self.n_views):
            for start in range(0, self.n_rows, _CHUNK):
                chunk = np.arange(start, min(start + _CHUNK, self.n_rows))
                self._X[view, chunk] = self._project(source.read(chunk, view))

    def read(self, rows: IntArray, view: int = 0) -> NDArray[np.float32]:
        """Return some rows of a view: float32 (n, n_columns)."""
        return np.asarray(self._X[view][rows])

    def _project(self, X: NDArray[Any]) -> NDArray[np.float32]:
        X = self._scaler.transform(X.astype(np.float32))
        parts, start = [], 0
        for basis in self._bases:
            parts.append(X[:, start : start + len(basis)] @ basis)
            start += len(basis)
        return np.concatenate(parts, axis=1)


def _principal_axes(X: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return axes of the space of the ``n`` directions of largest variance of rows (m, d), as columns (d, n)."""
    if len(X) < 2:
        raise HeadsError(f"{len(X)} rows to learn from are too few for principal components, expected 2 or more")
    values, vectors = np.linalg.eigh(X.T @ X)
    order = np.argsort(values)[::-1][:n]
    turn = np.linalg.qr(np.random.default_rng(n).standard_normal((len(order), len(order))))[0]
    return np.ascontiguousarray(vectors[:, order] @ turn.astype(np.float32))
