"""Pillow's resampling as two small kernels of Triton, one an axis, in integer arithmetic."""

# Triton compiles what stands in the functions: their names and types are its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np
import triton
import triton.language as tl

__all__ = ["BLOCK", "ORDER", "resample_columns", "resample_rows"]

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
