"""The matrix that heads are trained on: rows from anywhere as heads see them, resident or read in windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heads.data.row_source import RowSource
from heads.mlp.inputs import Inputs

__all__ = ["Matrix", "Resident", "Streamed"]

IntArray = NDArray[np.int64]

_CHUNK = 1024  # rows that are raw at a time


class Matrix(Protocol):
    """Rows as heads see them, given out in batches."""

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
    inputs : Inputs
    device : str
    dtype : torch.dtype
    """

    def __init__(self, source: RowSource, rows: IntArray, *, inputs: Inputs, device: str, dtype: torch.dtype) -> None:
        self._place = torch.full((source.n_rows,), -1)
        self._place[torch.from_numpy(rows)] = torch.arange(len(rows))
        self._n_rows = len(rows)
        self._X = torch.empty((source.n_views * len(rows), inputs.columns.width), dtype=dtype, device=device)
        for view in range(source.n_views):
            for start in range(0, len(rows), _CHUNK):
                chunk = inputs.read(source, rows[start : start + _CHUNK], view)
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
    """Rows that do not fit: read and given out a window at a time.

    Parameters
    ----------
    source : RowSource
    inputs : Inputs
    window : int
        Rows that are held.
    device : str
    dtype : torch.dtype
    """

    def __init__(self, source: RowSource, *, inputs: Inputs, window: int, device: str, dtype: torch.dtype) -> None:
        self._source, self._inputs, self._device = source, inputs, device
        self._window = torch.empty((window, inputs.columns.width), dtype=dtype)

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
                chunk = self._inputs.read(self._source, positions[chosen], view)
                self._window.index_copy_(0, torch.from_numpy(chosen), chunk.to(self._window.dtype))
