"""Pictures on a GPU, of any sizes, resampled together in two passes: equal to Pillow's in every bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Resampling
from torch import Tensor

from featcache.pictures.card.kernels import BLOCK, ORDER, resample_columns, resample_rows
from featcache.pictures.card.launching import launch
from featcache.pictures.card.memory import alike
from featcache.pictures.card.taps import Axis, Taps, make_taps, round_up, send
from featcache.pictures.placement import Placement
from featcache.pictures.resample import are_rows_first, pass_order

__all__ = ["Resampler"]

_MOST_SIZES = 4096
_MOST_BYTES = 128 << 20  # of tables

_Shape: TypeAlias = tuple[int, ...]
_JOB = np.dtype(
    [("is_rows_first", np.bool_), ("top", np.int64), ("n_bytes", np.int64), ("first", ORDER), ("second", ORDER)]
)
"""What is done to all pictures of a shape: in which order, the first row that is read, the bytes between the passes,
and both passes, with addresses that count from those of the picture, of what is between, and of the pixels."""


class Resampler:
    """Resamples each picture to where a function of its size places it.

    Parameters
    ----------
    place : callable
        What is seen of a picture of a height and a width.
    filter : Resampling
        Any of Pillow's classic filters but ``NEAREST``.
    device : torch.device
        Where the pictures are. On a CPU Triton has to interpret (``TRITON_INTERPRET=1``).
    width : int, optional
        Pixels of a row of every result. Default: as many as are seen.

    Notes
    -----
    Pillow's sums are of 22 fractional bits: with weights of at most 1.4 in sum they fit into int32.

    What the shape of a picture decides is kept for the next ones of that shape. It is of the stream on which it was
    made, as the pixels are: one stream a resampler.
    """

    def __init__(
        self,
        place: Callable[[int, int], Placement],
        filter: Resampling,
        device: torch.device,
        *,
        width: int | None = None,
    ) -> None:
        self._place, self._filter, self._device, self._width = place, filter, device, width
        self._forget()

    def resample(self, pictures: Sequence[Tensor], results: NDArray[np.int64]) -> None:
        """Begin to write what is seen of pictures, on the current stream.

        Parameters
        ----------
        pictures : sequence of uint8 Tensor (height, width, 3)
            On the device; rows may be apart, the values of a row not.
        results : int64 array (n,)
            Addresses on the device of uint8 (height, width, 3), rows one after the other.
        """
        jobs = self._jobs([picture.shape for picture in pictures])
        strides = np.array([picture.stride(0) for picture in pictures], np.int64)
        between = torch.empty(int(jobs["n_bytes"].sum()), dtype=torch.uint8, device=self._device)
        middles = between.data_ptr() + np.cumsum(jobs["n_bytes"]) - jobs["n_bytes"]
        first, second = jobs["first"], jobs["second"]
        first["source"] += np.array([picture.data_ptr() for picture in pictures], np.int64) + jobs["top"] * strides
        first["source_stride"] = strides
        first["result"] = middles
        second["source"] += middles
        second["result"] += results
        for is_rows_first in (False, True):
            chosen = np.flatnonzero(jobs["is_rows_first"] == is_rows_first)
            kernels = (resample_rows, resample_columns) if is_rows_first else (resample_columns, resample_rows)
            for kernel, orders in zip(kernels, (first, second), strict=True) if len(chosen) else ():
                self._launch(kernel, orders[chosen])

    def _launch(self, kernel: Any, orders: NDArray[Any]) -> None:
        for chosen in alike(*(orders[name] for name in ("n_rows", "n_columns", "n_taps"))):
            own = orders[chosen]
            grid = (len(own), int(own["n_rows"].max()), -(-3 * int(own["n_columns"].max()) // BLOCK))
            most_taps = round_up(int(own["n_taps"].max()))
            launch(kernel, grid, send(own.view(np.int64), self._device), MOST_TAPS=most_taps)

    def _jobs(self, shapes: Sequence[_Shape]) -> NDArray[Any]:
        """Return a `_JOB` for each picture."""
        new = [shape for shape in dict.fromkeys(shapes) if shape not in self._numbers]
        if new and (len(self._numbers) + len(new) > _MOST_SIZES or self._n_bytes > _MOST_BYTES):
            self._forget()
            new = list(dict.fromkeys(shapes))
        if new:
            self._learn(new)
        return self._known[[self._numbers[shape] for shape in shapes]]

    def _forget(self) -> None:
        self._numbers: dict[_Shape, int] = {}
        self._known = np.empty(0, _JOB)
        self._taps: dict[Axis, Taps] = {}
        self._memory: list[Tensor] = []
        self._n_bytes = 0

    def _learn(self, shapes: Sequence[_Shape]) -> None:
        """Make the jobs of shapes that are new, and the tables that these read."""
        placed = [self._place(*shape[:2]) for shape in shapes]
        axes = [_axes(each) for each in placed]
        new = dict.fromkeys(axis for both in axes for axis in both if axis not in self._taps)
        taps, memory = make_taps(list(new), self._filter, self._device)
        self._taps |= taps
        self._memory += memory
        self._n_bytes += sum(each.nbytes for each in memory)
        jobs = np.array([self._job(*each) for each in zip(placed, axes, strict=True)], _JOB)
        self._numbers |= {shape: number for number, shape in enumerate(shapes, len(self._known))}
        self._known = np.concatenate([self._known, jobs])

    def _job(self, placed: Placement, axes: tuple[Axis, Axis]) -> tuple[Any, ...]:
        """Return a `_JOB`."""
        rows, columns = self._taps[axes[0]], self._taps[axes[1]]
        (top, left, *_), (_, _, height, width) = placed.source, placed.box
        line = 3 * (width if self._width is None else self._width)
        seen = placed.at[0] * line + 3 * placed.at[1]
        if is_rows_first := are_rows_first(placed.source[2:], placed.size, pass_order()):
            n_rows, n_columns = height, columns.stop - columns.first
            source, middle = 3 * (left + columns.first), -3 * columns.first
            one, other = rows, columns
        else:
            n_rows, n_columns = rows.stop - rows.first, width
            source, middle = 3 * left, -3 * n_columns * rows.first
            top += rows.first
            one, other = columns, rows
        first = (source, 0, 0, 3 * n_columns, n_rows, n_columns, one.firsts, one.weights, one.n_taps)
        second = (middle, seen, 3 * n_columns, line, height, width, other.firsts, other.weights, other.n_taps)
        return is_rows_first, top, 3 * n_rows * n_columns, first, second


def _axes(placed: Placement) -> tuple[Axis, Axis]:
    """Return what is to be made of the rows and of the columns of a picture."""
    (_, _, *lengths), (top, left, height, width) = placed.source, placed.box
    return (lengths[0], placed.size[0], top, top + height), (lengths[1], placed.size[1], left, left + width)
