"""The matrix that heads are trained on: raw rows from anywhere, standardised once, resident or read in windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heads.data.row_source import RowSource
from heads.errors import HeadsError
from heads.head.scaling import Standardizer, check_finite

__all__ = ["Matrix", "Resident", "Streamed", "measure_rows"]

IntArray = NDArray[np.int64]

_CHUNK = 1024  # rows that are raw at a time
_MEASURED = 2**18  # rows: standard errors below a 300th of a standard deviation
_TINY = float(np.finfo(np.float32).tiny)


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


class _Scale:
    """A standardisation in float32 that is as exact as one in float64: the mean is subtracted in two parts."""

    def __init__(self, scaler: Standardizer) -> None:
        high = scaler.mean.astype(np.float32)
        parts = (high, scaler.mean - high, scaler.inverse_scale)
        self._high, self._low, self._inverse = (torch.from_numpy(np.asarray(part, np.float32)) for part in parts)

    def read(self, source: RowSource, rows: IntArray, view: int) -> Tensor:
        """Return some rows of a source, standardised."""
        X = _read(source, rows, view)
        X.sub_(self._high).sub_(self._low).mul_(self._inverse)
        check_finite(X.numpy(), "standardised X")
        return X


class Matrix(Protocol):
    """Standardised rows, given out in batches."""

    def batches(self, positions: Tensor, views: Tensor | None, *, batch_size: int) -> Iterator[Tensor]:
        """Yield rows (b, d), in the order of ``positions``, each in its view (default: the clean one)."""
        ...


class Resident:
    """All rows at once, on the device.

    Parameters
    ----------
    source : RowSource
    rows : int array (m,)
        Those that are needed, ascending; positions are numbers of rows of the source.
    scaler : Standardizer
    device : str
    dtype : torch.dtype
    """

    def __init__(
        self, source: RowSource, rows: IntArray, *, scaler: Standardizer, device: str, dtype: torch.dtype
    ) -> None:
        self._place = torch.full((source.n_rows,), -1)
        self._place[torch.from_numpy(rows)] = torch.arange(len(rows))
        self._n_rows = len(rows)
        self._X = torch.empty((source.n_views * len(rows), source.n_columns), dtype=dtype, device=device)
        scale = _Scale(scaler)
        for view in range(source.n_views):
            for start in range(0, len(rows), _CHUNK):
                chunk = scale.read(source, rows[start : start + _CHUNK], view)
                first = view * len(rows) + start
                self._X[first : first + len(chunk)] = chunk.to(device)

    def batches(self, positions: Tensor, views: Tensor | None, *, batch_size: int) -> Iterator[Tensor]:
        """Yield rows (b, d), in the order of ``positions``."""
        index = self._place[positions]
        if views is not None:
            index += views.long() * self._n_rows
        for part in torch.split(index.to(self._X.device), batch_size):
            yield self._X.index_select(0, part)


class Streamed:
    """Rows that do not fit: read, standardised and given out a window at a time.

    Parameters
    ----------
    source : RowSource
    scaler : Standardizer
    window : int
        Rows that are held.
    device : str
    dtype : torch.dtype
    """

    def __init__(
        self, source: RowSource, *, scaler: Standardizer, window: int, device: str, dtype: torch.dtype
    ) -> None:
        self._source, self._scale, self._device = source, _Scale(scaler), device
        self._window = torch.empty((window, source.n_columns), dtype=dtype)

    def batches(self, positions: Tensor, views: Tensor | None, *, batch_size: int) -> Iterator[Tensor]:
        """Yield rows (b, d), in the order of ``positions``; what is read in one window is read in order."""
        batch_size = min(batch_size, len(self._window))
        size = len(self._window) // batch_size * batch_size
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            self._fill(part.numpy(), None if views is None else views[start : start + size].numpy())
            for first in range(0, len(part), batch_size):
                yield self._window[first : min(first + batch_size, len(part))].to(self._device)

    def _fill(self, positions: IntArray, views: NDArray[Any] | None) -> None:
        for view in range(1 if views is None else self._source.n_views):
            places = np.arange(len(positions)) if views is None else np.flatnonzero(views == view)
            places = places[np.argsort(positions[places], kind="stable")]
            for start in range(0, len(places), _CHUNK):
                chosen = places[start : start + _CHUNK]
                chunk = self._scale.read(self._source, positions[chosen], view)
                self._window.index_copy_(0, torch.from_numpy(chosen), chunk.to(self._window.dtype))
