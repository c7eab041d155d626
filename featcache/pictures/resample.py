"""Pillow's resampling of a box of the result alone, equal to it in every bit.

`Image.resize` computes the whole result, and its ``box`` argument is rounded to float32, so neither can give
a crop of a long resized strip both exactly and cheaply. Pillow resamples in two passes, one along each axis,
both rounded to 8 bits; a pass needs only the input under its part of the result. An axis of which all is
wanted stays Pillow's own work, the others are done here in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from featcache.pictures.strips import to_array

__all__ = ["COLUMNS_FIRST", "PRECISION_BITS", "TALL", "are_rows_first", "axis_taps", "pass_order", "resize_crop"]

Floats: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.uint8]

COLUMNS_FIRST = "columns first"
"""The order of the passes of Pillow below 13, and of torch."""

TALL = 100
"""Height / width above which Pillow below 13 resamples the rows first, as it does to no other picture."""

_ROWS_FIRST = "rows first if they shrink by more than twice what columns do"

PRECISION_BITS = 32 - 8 - 2
"""Fractional bits of Pillow's weights: 32, less 8 of the pixel and 2 of headroom."""
_PRECISION = 2.0**PRECISION_BITS
_TILE_COLUMNS = 32
_TILE_VALUES = 1 << 20


def resize_crop(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    *,
    filter: Resampling,
    passes: str,
) -> Pixels:
    """Compute one box of a resized picture from the part of it that the box depends on.

    Parameters
    ----------
    image : Image.Image
        The picture, in mode RGB; only the part needed is turned into an array.
    size : (height, width)
        Size of the whole result, which is never computed.
    box : (top, left, height, width)
        The part wanted, in pixels of the result, inside it.
    filter : Resampling
        Any of Pillow's six classic filters, ``NEAREST`` to ``HAMMING``.
    passes : str
        `pass_order` of the Pillow that is to be followed.

    Returns
    -------
    ndarray of uint8, shape (box height, box width, 3)
        Bit-equal to ``image.resize((width, height), filter)`` of that Pillow, cropped to the box.
    """
    rows, columns = _plan(image.height, image.width, size, box, filter)
    needed = to_array(image, (columns.low, rows.low, columns.high, rows.high))
    return _resample(needed, rows, columns, filter, passes=passes)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a resize: ``length`` pixels become ``result``, ``start`` to ``stop`` are wanted."""

    length: int
    result: int
    start: int
    stop: int
    low: int
    high: int

    @property
    def is_whole(self) -> bool:
        return self.stop - self.start == self.result


def _plan(
    height: int, width: int, size: tuple[int, int], box: tuple[int, int, int, int], filter: Resampling
) -> tuple[_Axis, _Axis]:
    top, left, box_height, box_width = box
    return (
        _axis(height, size[0], top, top + box_height, filter),
        _axis(width, size[1], left, left + box_width, filter),
    )


def _axis(length: int, result: int, start: int, stop: int, filter: Resampling) -> _Axis:
    if not 0 <= start < stop <= result:
        raise ValueError(f"box spans {start} to {stop} of an axis of {result} pixels, expected a part of it")
    if filter != Resampling.NEAREST and filter not in _FILTERS:
        raise ValueError(f"filter is {filter!r}, expected one of Pillow's six classic filters")
    if stop - start == result or filter == Resampling.NEAREST:
        low, high = 0, length
    elif length == result:
        low, high = start, stop
    else:
        first, last = _bounds(length, result, start, stop, filter)
        low, high = int(first[0]), int(last[-1])
    return _Axis(length, result, start, stop, low, high)


def _resample(part: Pixels, rows: _Axis, columns: _Axis, filter: Resampling, *, passes: str) -> Pixels:
    if filter == Resampling.NEAREST:
        return part[np.ix_(_nearest(rows), _nearest(columns))]
    is_rows_first = are_rows_first((rows.length, columns.length), (rows.result, columns.result), passes)
    for axis in (rows, columns) if is_rows_first else (columns, rows):
        if axis.is_whole:
            height, width = part.shape[:2]
            part = _by_pillow(part, (axis.result, width) if axis is rows else (height, axis.result), filter)
        elif axis.length != axis.result:
            part = _by_numpy(part, axis, filter, along=0 if axis is rows else 1)
    return np.array(part, order="C")


def are_rows_first(from_size: tuple[int, int], to_size: tuple[int, int], passes: str) -> bool:
    """Tell whether the rows of a picture (height, width) are resampled before its columns.

    Parameters
    ----------
    from_size, to_size : (height, width)
        Of the picture and of the whole result.
    passes : str
        `pass_order` of the Pillow that is to be followed.
    """
    shrink, others = from_size[0] - to_size[0], from_size[1] - to_size[1]
    return passes != COLUMNS_FIRST and shrink > max(0, 2 * others)


def axis_taps(
    length: int, result: int, start: int, stop: int, filter: Resampling
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return where each pixel of an axis comes from, and its weights: an axis that keeps its length copies.

    Parameters
    ----------
    length, result : int
        Pixels of the axis before and after.
    start, stop : int
        Which pixels of the result.
    filter : Resampling
        Any of Pillow's classic filters but ``NEAREST``.

    Returns
    -------
    first : int64 array (n,)
        The first input pixel of each.
    weights : int32 array (n, k)
        Of it and those after it, in units of ``2**-PRECISION_BITS``; 0 beyond the last.
    """
    if length == result:
        return np.arange(start, stop), np.full((stop - start, 1), 1 << PRECISION_BITS, np.int32)
    first, _, weights = _weights(_axis(length, result, start, stop, filter), filter)
    return first, weights.astype(np.int32)


@cache
def pass_order() -> str:
    """Say in which order the installed Pillow resamples the axes, found out by resizing a small picture.

    Pillow 13 turned the order round for pictures that lose much height; the rounding between the passes makes
    that visible as differences of one grey level, rarely of a few. It therefore belongs in a fingerprint.

    Returns
    -------
    str
        ``"columns first"`` (Pillow below 13), or the rule of Pillow 13.
    """
    tall = Image.fromarray((np.arange(64).reshape(16, 4) * 97 % 256).astype(np.uint8))
    columns_first = tall.resize((9, 16), Resampling.BICUBIC).resize((9, 5), Resampling.BICUBIC)
    is_columns_first = tall.resize((9, 5), Resampling.BICUBIC).tobytes() == columns_first.tobytes()
    return COLUMNS_FIRST if is_columns_first else _ROWS_FIRST


def _by_pillow(part: Pixels, size: tuple[int, int], filter: Resampling) -> Pixels:
    if part.shape[:2] == size:
        return part
    return np.array(Image.fromarray(np.ascontiguousarray(part)).resize(size[::-1], filter))


def _nearest(axis: _Axis) -> NDArray[np.int32]:
    """Let Pillow resize the indices themselves: it adds up its steps, and so rounds in its own way."""
    indices = Image.fromarray(np.arange(axis.length, dtype=np.int32)[None])
    return np.asarray(indices.resize((axis.result, 1), Resampling.NEAREST))[0, axis.start : axis.stop]


def _by_numpy(part: Pixels, axis: _Axis, filter: Resampling, *, along: int) -> Pixels:
    """Resample ``part``, which begins at the axis' ``low``, along one axis: 0 for rows, 1 for columns.

    The sums are of integers below 2**53, hence exact in float64, in whatever order BLAS adds them up.
    """
    part = part.swapaxes(along, 1)
    first, last, weights = _weights(axis, filter)
    result = np.empty((part.shape[0], axis.stop - axis.start, 3), np.uint8)
    for left in range(0, result.shape[1], _TILE_COLUMNS):
        tile = slice(left, left + _TILE_COLUMNS)
        low, high = int(first[tile][0]), int(last[tile][-1])
        dense = _dense(first[tile] - low, weights[tile], high - low)
        height = max(1, _TILE_VALUES // (3 * (high - low)))
        for top in range(0, part.shape[0], height):
            source = part[top : top + height, low - axis.low : high - axis.low]
            sums = source.transpose(0, 2, 1).astype(np.float64) @ dense
            sums = np.floor((sums + _PRECISION / 2) / _PRECISION).clip(0, 255)
            result[top : top + height, tile] = sums.transpose(0, 2, 1)
    return result.swapaxes(along, 1)


def _dense(offsets: NDArray[np.int64], weights: Floats, width: int) -> Floats:
    """Spread the weights of each result pixel to their place among ``width`` input pixels: (width, n)."""
    taps = offsets[:, None] + np.arange(weights.shape[1])
    inside = taps < width
    dense = np.zeros((width, len(offsets)))
    columns = np.broadcast_to(np.arange(len(offsets))[:, None], taps.shape)
    dense[taps[inside], columns[inside]] = weights[inside]
    return dense


def _bounds(
    length: int, result: int, start: int, stop: int, filter: Resampling
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last input pixel under each of the result's pixels ``start`` to ``stop``."""
    scale = length / result
    support = _FILTERS[filter][1] * max(scale, 1.0)
    centre = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), length)
    return first, last


def _weights(axis: _Axis, filter: Resampling) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Weights as Pillow's ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` make them.

    Source: Pillow, src/libImaging/Resample.c. Every operation is in its order, for the last bit's sake: the
    sum of weights is sequential (cumsum), sine and cosine are the C library's.
    """
    first, last = _bounds(axis.length, axis.result, axis.start, axis.stop, filter)
    scale = axis.length / axis.result
    centre = (np.arange(axis.start, axis.stop) + 0.5) * scale
    taps = first[:, None] + np.arange(int((last - first).max()))
    inside = taps < last[:, None]
    kernel, _ = _FILTERS[filter]
    values = np.where(inside, kernel((taps - centre[:, None] + 0.5) * (1.0 / max(scale, 1.0))), 0.0)
    total = values.cumsum(axis=1)[:, -1:]
    values = np.divide(values, total, out=values, where=total != 0)
    return first, last, np.trunc(values * _PRECISION + np.where(values < 0, -0.5, 0.5))


def _box(x: Floats) -> Floats:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _bilinear(x: Floats) -> Floats:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _hamming(x: Floats) -> Floats:
    near = np.abs(x) < 1.0
    turn = np.abs(x[near]) * math.pi
    result = np.zeros_like(x)
    # 0.54 and 0.46 are float32 literals in Pillow
    result[near] = _sinc(turn) * (float(np.float32(0.54)) + float(np.float32(0.46)) * _libm(math.cos, turn))
    return result


def _bicubic(x: Floats) -> Floats:
    x, a = np.abs(x), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Floats) -> Floats:
    near = (x >= -3.0) & (x < 3.0)
    result = np.zeros_like(x)
    result[near] = _sinc(x[near] * math.pi) * _sinc(x[near] / 3 * math.pi)
    return result


def _sinc(turn: Floats) -> Floats:
    return np.divide(_libm(math.sin, turn), turn, out=np.ones_like(turn), where=turn != 0)


def _libm(function: Callable[[float], float], x: Floats) -> Floats:
    return np.array([function(value) for value in x.tolist()])


_FILTERS: dict[Resampling, tuple[Callable[[Floats], Floats], float]] = {
    Resampling.BOX: (_box, 0.5),
    Resampling.BILINEAR: (_bilinear, 1.0),
    Resampling.HAMMING: (_hamming, 1.0),
    Resampling.BICUBIC: (_bicubic, 2.0),
    Resampling.LANCZOS: (_lanczos, 3.0),
}
