"""Small kernels of Triton that blur, one an axis: in integer arithmetic."""

# Triton compiles what stands in the functions: their names and types are its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["BLUR_BLOCK", "BLUR_FIELDS", "blur_columns", "blur_rows"]

BLUR_BLOCK = 1024
"""Values of a row that a program makes."""
BLUR_FIELDS = 5
"""Numbers that say what is to be done to a picture, int64: the addresses of its first byte and of the result's, the
bytes from row to row, rows and columns. The result's rows are one after the other."""


@triton.jit
def blur_rows(orders, weights, RADIUS: tl.constexpr):
    """Convolve along columns: each value of the result comes of several of the same column and colour."""
    source, result, stride, n_rows, n_columns, y, j = _row(orders)
    inside = j < tl.where(y < n_rows, 3 * n_columns, 0)
    at, step = _first(y, n_rows, RADIUS)
    sums = tl.zeros((1024,), dtype=tl.int32)
    for k in range(2 * RADIUS + 1):
        level = tl.load(source + at * stride + j, mask=inside, other=0)
        sums += level.to(tl.int32) * tl.load(weights + k)
        at, step = _next(at, step, n_rows)
    tl.store(result + j, _levels(sums), mask=inside)


@triton.jit
def blur_columns(orders, weights, RADIUS: tl.constexpr):
    """Convolve along rows: each value of the result comes of several of the same row and colour."""
    source, result, stride, n_rows, n_columns, y, j = _row(orders)
    inside = j < tl.where(y < n_rows, 3 * n_columns, 0)
    row = source + y * stride + j % 3
    at, step = _first(j // 3, n_columns, RADIUS)
    sums = tl.zeros((1024,), dtype=tl.int32)
    for k in range(2 * RADIUS + 1):
        level = tl.load(row + at * 3, mask=inside, other=0)
        sums += level.to(tl.int32) * tl.load(weights + k)
        at, step = _next(at, step, n_columns)
    tl.store(result + j, _levels(sums), mask=inside)


@triton.jit
def _row(orders):
    """Return a picture and the place in it of what a program makes."""
    order = orders + tl.program_id(0) * 5
    y, j = tl.program_id(1), tl.program_id(2) * 1024 + tl.arange(0, 1024)
    source = tl.load(order).to(tl.pointer_type(tl.uint8))
    n_rows, n_columns = tl.load(order + 3).to(tl.int32), tl.load(order + 4).to(tl.int32)
    result = tl.load(order + 1).to(tl.pointer_type(tl.uint8)) + y * tl.load(order + 4) * 3
    return source, result, tl.load(order + 2), n_rows, n_columns, y, j


@triton.jit
def _first(place, n, RADIUS: tl.constexpr):
    """Return which of `n` pixels lies `RADIUS` before a place, and the step to the next: mirrors all around."""
    there = place - RADIUS + 2 * n * (RADIUS // (2 * n) + 1)
    there = there % (2 * n)
    return tl.where(there < n, there, 2 * n - 1 - there), tl.where(there < n, 1, -1)


@triton.jit
def _next(at, step, n):
    """Go a step; the outermost pixel counts twice."""
    there = at + step
    is_out = (there < 0) | (there >= n)
    return tl.where(is_out, at, there), tl.where(is_out, -step, step)


@triton.jit
def _levels(sums):
    """Round sums of 16 fractional bits to levels."""
    return ((sums + (1 << 15)) >> 16).to(tl.uint8)
