"""What heads learn from instead of raw columns: standardised ones, turned to their principal axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from torch import Tensor

from heads.data.columns import Block, Columns
from heads.data.row_source import RowSource
from heads.data.tasks import IntArray
from heads.errors import HeadsError
from heads.head.protocol import FloatArray
from heads.head.scaling import Standardizer, check_finite
from heads.head.subspace import DrawnRows, find_directions

__all__ = ["Inputs", "measure_rows"]

_CHUNK = 1024  # rows that are raw at a time
_MEASURED = 2**18  # rows: standard errors below a 300th of a standard deviation
_DRAWN = 4096  # rows, each view counted as one: the axes need no more
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Columns as heads see them while they are trained.

    Standardised columns depend on each other. Along their principal axes they do not, and an optimiser that scales each
    weight's steps by its own gradients (Adam) then scales each direction's. The axes keep their variances.

    Attributes
    ----------
    scaler : Standardizer
        Of the raw columns.
    raw : Columns
        Layout of the raw columns.
    columns : Columns
        Layout of those that heads see: the axes of each modality, or the raw ones.
    axes : tuple of float32 array (d, k)
        Of each modality, orthonormal; empty where columns are not turned.
    """

    scaler: Standardizer
    raw: Columns
    columns: Columns
    axes: tuple[FloatArray, ...] = ()

    @classmethod
    def fit(cls, source: RowSource, rows: IntArray, columns: Columns, *, components: int) -> Inputs:
        """Measure rows of a source in all its views.

        Parameters
        ----------
        source : RowSource
        rows : int array
            Those to learn from.
        columns : Columns
            What stands where in the source.
        components : int
            Axes of each modality, at most; 0: its standardised columns as they are.
        """
        scaler = measure_rows(source, rows)
        if components == 0:
            return cls(scaler, columns, columns)
        drawn, axes, start = DrawnRows.draw(source, rows, _DRAWN), [], 0
        for width in columns.widths.values():
            own = slice(start, start + width)
            axes.append(find_directions(drawn, scaler, components, columns=own).axes.astype(np.float32))
            start += width
        names = zip(columns.modalities, axes, strict=True)
        turned = Columns(tuple(Block(modality, "components" if modality else "", a.shape[1]) for modality, a in names))
        return cls(scaler, columns, turned, tuple(axes))

    def read(self, source: RowSource, rows: IntArray, view: int) -> Tensor:
        """Return some rows of a source as heads see them, float32 (n, k).

        The standardisation in float32 is as exact as one in float64: the mean is subtracted in two parts.
        """
        X = _read(source, rows, view)
        high = self.scaler.mean.astype(np.float32)
        parts = (high, self.scaler.mean - high, self.scaler.inverse_scale)
        mean, rest, inverse = (torch.from_numpy(np.asarray(part, np.float32)) for part in parts)
        X.sub_(mean).sub_(rest).mul_(inverse)
        check_finite(X.numpy(), "standardised X")
        if not self.axes:
            return X
        blocks = torch.split(X, list(self.raw.widths.values()), dim=1)
        return torch.cat([X @ torch.from_numpy(axes) for X, axes in zip(blocks, self.axes, strict=True)], dim=1)

    def turn(self, modalities: tuple[str, ...]) -> NDArray[np.float32] | None:
        """Return the map from the standardised columns of some modalities to what heads see; None: the same."""
        if not self.axes:
            return None
        axes = dict(zip(self.raw.modalities, self.axes, strict=True))
        turn: NDArray[np.float32] = block_diag(*(axes[modality] for modality in modalities))
        return turn


def measure_rows(source: RowSource, rows: IntArray) -> Standardizer:
    """Measure the columns over some rows, in all views alike, in one reading and in float64.

    As `Standardizer.fit`, which needs the rows in one array. Deviations are taken from the mean of the first rows
    read, so that large means cost no digits: Chan, Golub & LeVeque, "Algorithms for Computing the Sample Variance"
    (1983), shifted data. Of millions of rows some 262,144 are measured, in pieces from everywhere.
    """
    if len(rows) == 0:
        raise HeadsError("X has no rows, expected at least one to standardise with")
    if len(rows) > _MEASURED:
        starts = np.linspace(0, len(rows) - _CHUNK, _MEASURED // _CHUNK).astype(np.int64)
        rows = rows[(starts[:, None] + np.arange(_CHUNK)).ravel()]
    shift, count = np.zeros(source.n_columns), 0
    total, squares = np.zeros(source.n_columns), np.zeros(source.n_columns)
    deviation = np.empty((_CHUNK, source.n_columns))
    for view in range(source.n_views):
        for start in range(0, len(rows), _CHUNK):
            chunk = _read(source, rows[start : start + _CHUNK], view).numpy()
            if count == 0:
                shift = chunk.mean(axis=0, dtype=np.float64)
            part = np.subtract(chunk, shift, out=deviation[: len(chunk)])
            total += part.sum(axis=0)
            squares += np.einsum("ij,ij->j", part, part)
            count += len(chunk)
    if not np.isfinite(squares).all():
        first = int(np.argmin(np.isfinite(squares)))
        raise HeadsError(f"X of the training rows has values that are NaN or infinite, the first in column {first}")
    mean = shift + total / count
    std = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
    std[std <= _TINY] = 0  # its inverse would be beyond float32
    return Standardizer.of_deviations(mean, std)


def _read(source: RowSource, rows: IntArray, view: int) -> Tensor:
    """Return some rows of a source in float32, to be written to; torch converts float16 much faster than numpy."""
    return torch.tensor(source.read(rows, view)).float()
