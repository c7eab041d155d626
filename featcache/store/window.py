"""Many mapped files as one array, so that scattered rows of all of them are one indexing operation of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window"]


class Window:
    """Mapped (n_i, d) arrays of one dtype, seen as one through a view over all the addresses between them.

    Row ``r`` of array ``s`` is element ``starts[s] + r * d`` of that view: an element a number, as large as a row, so
    that its elements overlap. What lies between the arrays is somebody else's memory, and is never asked for.

    Parameters
    ----------
    arrays : sequence of (n_i, d) array
        Read-only and such that `fits`; kept alive.

    Attributes
    ----------
    known : weak mapping of object to (n,) int64
        For callers to keep `positions` in, by what they are positions of.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._arrays = tuple(arrays)
        self.known: WeakKeyDictionary[object, NDArray[np.int64]] = WeakKeyDictionary()
        full = [array for array in arrays if array.size]
        self.dtype, self._width = full[0].dtype, full[0].shape[1]
        addresses = [array.__array_interface__["data"][0] if array.size else 0 for array in arrays]
        first = min(address for address in addresses if address)
        itemsize = self.dtype.itemsize
        starts = [max(address - first, 0) // itemsize for address in addresses]
        size = max(start + array.size for start, array in zip(starts, arrays, strict=True))
        self._view = np.asarray(_Memory(first, size - self._width + 1, itemsize, self._width))
        # What is in no array has the number after the last, and row -1: together the first row of all.
        self._starts = np.array([*starts, self._width], np.int64)

    @staticmethod
    def fits(arrays: Sequence[NDArray[Any]]) -> bool:
        """Tell whether arrays can be seen as one: there are rows, all of one dtype and width, whole elements apart."""
        full = [array for array in arrays if array.size]
        kinds = {(array.dtype, array.shape[1], array.flags.c_contiguous and array.flags.aligned) for array in full}
        return len(kinds) == 1 and all(is_plain for _, _, is_plain in kinds)

    def positions(self, shard: NDArray[np.integer], row: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return what `take` needs to know of rows (n,); row -1 of the number after the last is in no array."""
        position: NDArray[np.int64] = np.multiply(row, self._width, dtype=np.int64)
        position += self._starts[shard]
        return position

    def take(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Return rows (m, d) in the order asked for, as a new array; any for what is in no array."""
        taken: NDArray[Any] = self._view[positions].view(self.dtype).reshape(len(positions), self._width)
        return taken


class _Memory:
    """Overlapping rows of memory, in numpy's array interface: as untyped elements numpy copies each in one go."""

    def __init__(self, address: int, n_rows: int, itemsize: int, width: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address, True),
            "typestr": f"|V{itemsize * width}",
            "shape": (n_rows,),
            "strides": (itemsize,),
        }
