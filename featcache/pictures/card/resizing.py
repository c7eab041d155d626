"""Decoded pictures on a GPU, of any sizes, resized together to the pixels of an encoder: equal to Pillow's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Resampling
from torch import Tensor

from featcache.pictures.card.kernels import BLOCK, FIELDS, resample_columns, resample_rows
from featcache.pictures.placement import Placement
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.resample import are_rows_first, axis_taps, pass_order

__all__ = ["CardResizer"]

_MOST_TABLES = 4096
_FEW_TAPS = 4

_Axis = tuple[int, int, int, int]  # length, length of the result, and which of its pixels: start, stop


@dataclass(frozen=True)
class _Taps:
    """What the pixels of an axis are made of, on the device."""

    firsts: Tensor
    weights: Tensor
    first: int
    stop: int

    @property
    def n(self) -> int:
        return int(self.weights.shape[1])


@dataclass
class _Pass:
    """Pictures that are resampled along one axis in one launch."""

    orders: list[tuple[int, ...]] = field(default_factory=list)
    n_taps: int = 1
    n_rows: int = 1
    n_columns: int = 1

    def add(self, source: tuple[int, int], result: tuple[int, int], size: tuple[int, int], taps: _Taps) -> None:
        """Enter a picture: address and bytes a row of either, rows and columns of the result."""
        addresses = (source[0], result[0], source[1], result[1])
        self.orders.append((*addresses, *size, taps.firsts.data_ptr(), taps.weights.data_ptr(), taps.n))
        self.n_taps, self.n_rows = max(self.n_taps, taps.n), max(self.n_rows, size[0])
        self.n_columns = max(self.n_columns, size[1])


class CardResizer:
    """Resizes pictures for one encoder.

    Parameters
    ----------
    preprocessor : Preprocessor
        What the encoder does to a picture; see `takes`.
    device : torch.device
        Where the pictures are. On a CPU Triton has to interpret (``TRITON_INTERPRET=1``).

    Notes
    -----
    Pillow's sums are of 22 fractional bits: with weights of at most 1.4 in sum they fit into int32.
    """

    def __init__(self, preprocessor: Preprocessor, device: torch.device) -> None:
        if not self.takes(preprocessor):
            raise ValueError(f"cannot resize as {preprocessor!r} does, expected Pillow's resampling")
        self._preprocessor, self._device = preprocessor, device
        self._tables: dict[_Axis, _Taps] = {}

    @staticmethod
    def takes(preprocessor: Preprocessor) -> bool:
        """Tell whether the kernels do what a preprocessor does: resample as Pillow, not as torch or to nearest."""
        is_nearest = preprocessor.resize is not None and preprocessor.filter == Resampling.NEAREST
        return preprocessor.backend == "pillow" and not is_nearest

    def resize(self, pictures: Sequence[Tensor]) -> NDArray[np.uint8]:
        """Return the pixels of pictures.

        Parameters
        ----------
        pictures : sequence of uint8 Tensor (height, width, 3)
            On the device; rows may be apart, the values of a row not.

        Returns
        -------
        uint8 array (n, height, width, 3)
        """
        height, width = self._preprocessor.size
        fill = torch.tensor(self._preprocessor.fill, dtype=torch.uint8, device=self._device)
        pixels = fill.expand(len(pictures), height, width, 3).contiguous()
        placed = [self._preprocessor.place(*picture.shape[:2]) for picture in pictures]
        turned = [are_rows_first(each.source[2:], each.size, pass_order()) for each in placed]
        for is_rows_first in (False, True):
            chosen = [i for i, each in enumerate(turned) if each is is_rows_first]
            if chosen:
                self._resize([(pictures[i], placed[i], pixels[i]) for i in chosen], is_rows_first=is_rows_first)
        return pixels.cpu().numpy()

    def _resize(self, jobs: Sequence[tuple[Tensor, Placement, Tensor]], *, is_rows_first: bool) -> None:
        """Resize pictures whose axes are resampled in the same order."""
        first, second = _Pass(), _Pass()
        taps = [self._taps(placed) for _, placed, _ in jobs]
        sizes = [
            _between(placed, *each, is_rows_first=is_rows_first)
            for (_, placed, _), each in zip(jobs, taps, strict=True)
        ]
        starts = np.concatenate([[0], np.cumsum([3 * rows * columns for rows, columns in sizes])])
        between = torch.empty(int(starts[-1]), dtype=torch.uint8, device=self._device)
        for (picture, placed, pixels), (of_rows, of_columns), size, start in zip(
            jobs, taps, sizes, starts, strict=False
        ):
            top, left = placed.source[:2]
            stride = picture.stride(0)
            source = (picture.data_ptr() + top * stride + 3 * left, stride)
            middle = (between.data_ptr() + int(start), 3 * size[1])
            seen = (pixels[placed.at[0] :, placed.at[1] :].data_ptr(), pixels.stride(0))
            if is_rows_first:
                first.add((source[0] + 3 * of_columns.first, stride), middle, size, of_rows)
                second.add((middle[0] - 3 * of_columns.first, middle[1]), seen, placed.box[2:], of_columns)
            else:
                first.add((source[0] + of_rows.first * stride, stride), middle, size, of_columns)
                second.add((middle[0] - of_rows.first * middle[1], middle[1]), seen, placed.box[2:], of_rows)
        kernels = (resample_rows, resample_columns) if is_rows_first else (resample_columns, resample_rows)
        for kernel, each in zip(kernels, (first, second), strict=True):
            orders = torch.tensor(each.orders, dtype=torch.int64).reshape(-1, FIELDS).to(self._device)
            grid = (len(each.orders), each.n_rows, -(-3 * each.n_columns // BLOCK))
            kernel[grid](orders, MOST_TAPS=_round_up(each.n_taps))

    def _taps(self, placed: Placement) -> tuple[_Taps, _Taps]:
        """Return what the rows and the columns of a result are made of."""
        (_, _, *lengths), (top, left, height, width) = placed.source, placed.box
        rows = (lengths[0], placed.size[0], top, top + height)
        columns = (lengths[1], placed.size[1], left, left + width)
        return self._table(rows), self._table(columns)

    def _table(self, axis: _Axis) -> _Taps:
        if axis not in self._tables:
            if len(self._tables) >= _MOST_TABLES:
                self._tables.clear()
            firsts, weights = axis_taps(*axis, self._preprocessor.filter)
            stop = int((firsts + _used(weights)).max())
            moved, own = (torch.from_numpy(each.astype(np.int32)).to(self._device) for each in (firsts, weights))
            self._tables[axis] = _Taps(moved, own, int(firsts.min()), stop)
        return self._tables[axis]


def _between(placed: Placement, of_rows: _Taps, of_columns: _Taps, *, is_rows_first: bool) -> tuple[int, int]:
    """Return rows and columns of what is kept between the passes: what the second one reads."""
    if is_rows_first:
        return placed.box[2], of_columns.stop - of_columns.first
    return of_rows.stop - of_rows.first, placed.box[3]


def _used(weights: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return how many input pixels each pixel needs: up to its last weight that is not 0."""
    return np.asarray(weights.shape[1] - (weights[:, ::-1] != 0).argmax(axis=1), np.int64)


def _round_up(n_taps: int) -> int:
    """Return the number of taps that a kernel is compiled for: few different ones."""
    return max(_FEW_TAPS, 1 << (n_taps - 1).bit_length())
