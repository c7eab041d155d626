"""Small kernels of Triton that make libjpeg's colours, and Pillow's resampling, one an axis: in integer arithmetic."""

# Triton compiles what stands in the functions: their names and types are its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np
import triton
import triton.language as tl

__all__ = ["BLOCK", "COLOUR_BLOCK", "COLOUR_FIELDS", "ORDER", "make_colours", "resample_columns", "resample_rows"]

BLOCK = 1024
"""Values of a row that a program makes."""
ORDER = np.dtype(
    [
        ("source", np.int64),
        ("result", np.int64),
        ("source_stride", np.int64),
        ("result_stride", np.int64),
        ("n_rows", np.int64),
        ("n_columns", np.int64),
        ("firsts", np.int64),
        ("weights", np.int64),
        ("n_taps", np.int64),
    ]
)
"""What is to be done to a picture: the addresses of its first byte and of the result's, the bytes of a row of either,
rows and columns of the result, the addresses of the first pixels and of the weights, and how many weights a pixel has;
in the order in which the kernels load them."""

COLOUR_BLOCK = 512
"""Pixels of a row that a program makes."""
COLOUR_FIELDS = 10
"""Numbers that say what colours are to be made of, int64: the addresses of luma, of both planes of chroma and of the
result, rows and columns of luma and of chroma, and how many pixels a value of chroma stands for, down and across; 0
of all these of chroma for a grey picture. Rows are one after the other, the result's have three values a pixel."""


@triton.jit
def _row(orders):
    """Return what a program is to do: its picture's order, its row, and its place in the row."""
    order = orders + tl.program_id(0) * 9
    return order, tl.program_id(1), tl.program_id(2) * 1024 + tl.arange(0, 1024)


@triton.jit
def _levels(sums):
    """Round sums to levels as Pillow does."""
    return tl.minimum(tl.maximum((sums + (1 << 21)) >> 22, 0), 255).to(tl.uint8)


@triton.jit
def resample_columns(orders, MOST_TAPS: tl.constexpr):
    """Resample along rows: each value of the result comes of several of the same row and colour."""
    order, y, j = _row(orders)
    source = tl.load(order).to(tl.pointer_type(tl.uint8))
    result = tl.load(order + 1).to(tl.pointer_type(tl.uint8))
    source_stride, result_stride = tl.load(order + 2), tl.load(order + 3)
    n_rows, n_columns = tl.load(order + 4), tl.load(order + 5)
    firsts = tl.load(order + 6).to(tl.pointer_type(tl.int32))
    weights = tl.load(order + 7).to(tl.pointer_type(tl.int32))
    n_taps = tl.load(order + 8)
    limit = tl.where(y < n_rows, 3 * n_columns, 0)
    inside = j < limit
    x, colour = j // 3, j % 3
    first = tl.load(firsts + x, mask=inside, other=0)
    sums = tl.zeros((1024,), dtype=tl.int32)
    for k in range(MOST_TAPS):
        weight = tl.load(weights + x * n_taps + k, mask=j < tl.where(k < n_taps, limit, 0), other=0)
        level = tl.load(
            source + y * source_stride + (first + k) * 3 + colour, mask=tl.where(weight != 0, j, limit) < limit, other=0
        )
        sums += level.to(tl.int32) * weight
    tl.store(result + y * result_stride + j, _levels(sums), mask=inside)


@triton.jit
def resample_rows(orders, MOST_TAPS: tl.constexpr):
    """Resample along columns: each value of the result comes of several of the same column and colour."""
    order, y, j = _row(orders)
    source = tl.load(order).to(tl.pointer_type(tl.uint8))
    result = tl.load(order + 1).to(tl.pointer_type(tl.uint8))
    source_stride, result_stride = tl.load(order + 2), tl.load(order + 3)
    n_rows, n_columns = tl.load(order + 4), tl.load(order + 5)
    firsts = tl.load(order + 6).to(tl.pointer_type(tl.int32))
    weights = tl.load(order + 7).to(tl.pointer_type(tl.int32))
    n_taps = tl.load(order + 8)
    limit = tl.where(y < n_rows, 3 * n_columns, 0)
    inside = j < limit
    first = tl.load(firsts + y, mask=y < n_rows, other=0)
    sums = tl.zeros((1024,), dtype=tl.int32)
    for k in range(MOST_TAPS):
        weight = tl.load(weights + y * n_taps + k, mask=(y < n_rows) & (k < n_taps), other=0)
        level = tl.load(source + (first + k) * source_stride + j, mask=tl.where(weight != 0, j, limit) < limit, other=0)
        sums += level.to(tl.int32) * weight
    tl.store(result + y * result_stride + j, _levels(sums), mask=inside)


@triton.jit
def make_colours(orders):
    """Interpolate chroma and turn YCbCr into RGB as libjpeg does by default (jdsample.c, jdcolor.c)."""
    order = orders + tl.program_id(0) * 10
    y, x = tl.program_id(1), tl.program_id(2) * 512 + tl.arange(0, 512)
    luma = tl.load(order).to(tl.pointer_type(tl.uint8))
    result = tl.load(order + 3).to(tl.pointer_type(tl.uint8))
    n_rows, n_columns = tl.load(order + 4), tl.load(order + 5)
    inside = x < tl.where(y < n_rows, n_columns, 0)
    level = tl.load(luma + y * n_columns + x, mask=inside, other=0).to(tl.int32)
    blue = _chroma(tl.load(order + 1), order, x, y, inside)
    red = _chroma(tl.load(order + 2), order, x, y, inside)
    at = result + (y * n_columns + x) * 3
    half = 1 << 15
    tl.store(at, _level(level + ((91881 * red + half) >> 16)), mask=inside)
    tl.store(at + 1, _level(level + ((half - 22554 * blue - 46802 * red) >> 16)), mask=inside)
    tl.store(at + 2, _level(level + ((116130 * blue + half) >> 16)), mask=inside)


@triton.jit
def _level(sums):
    return tl.minimum(tl.maximum(sums, 0), 255).to(tl.uint8)


@triton.jit
def _chroma(address, order, x, y, inside):
    """Return a plane of chroma at pixels of a row, less 128; 0 for a grey picture.

    Of a plane that is half as large a value counts three times, its neighbour on the pixel's side once; rows of two
    values and less are repeated, and so are those of pictures that they belong to.
    """
    plane = address.to(tl.pointer_type(tl.uint8))
    n_rows, n_columns = tl.load(order + 6), tl.load(order + 7)
    down, across = tl.load(order + 8), tl.load(order + 9)
    is_smooth = (across < 2) | (n_columns > 2)
    is_down, is_across = (down == 2) & is_smooth, (across == 2) & is_smooth
    row, column = y // tl.maximum(down, 1), x // tl.maximum(across, 1)
    others = tl.minimum(tl.maximum(row + (y % 2) * 2 - 1, 0), n_rows - 1)
    beside = tl.minimum(tl.maximum(column + (x % 2) * 2 - 1, 0), n_columns - 1)
    row_of_other = tl.where(is_down, others, row)
    column_of_other = tl.where(is_across, beside, column)
    mask = inside & (n_rows > 0)
    near = tl.load(plane + row * n_columns + column, mask=mask, other=128).to(tl.int32)
    near_below = tl.load(plane + row_of_other * n_columns + column, mask=mask, other=128).to(tl.int32)
    far = tl.load(plane + row * n_columns + column_of_other, mask=mask, other=128).to(tl.int32)
    far_below = tl.load(plane + row_of_other * n_columns + column_of_other, mask=mask, other=128).to(tl.int32)
    near = tl.where(is_down, 3 * near + near_below, near)
    far = tl.where(is_down, 3 * far + far_below, far)
    sums = tl.where(is_across, 3 * near + far, near)
    odd_x, odd_y = (x % 2).to(tl.int32), y % 2
    bias = tl.where(is_across, tl.where(is_down, 8 - odd_x, 1 + odd_x), tl.where(is_down, 1 + odd_y, 0))
    shift = tl.where(is_across, 2, 0) + tl.where(is_down, 2, 0)
    return ((sums + bias) >> shift) - 128
