"""A small kernel of Triton that adds noise, made of the words of numpy's Philox 4x64, in integer arithmetic."""

# Triton compiles what stands in the functions: their names and types are its own.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["NOISE_BLOCK", "NOISE_FIELDS", "add_words"]

NOISE_BLOCK = 2048
"""Levels of a picture that a program makes: 16 of each of its blocks of Philox."""
NOISE_FIELDS = 7
"""Numbers that say what noise is to be added to, int64: the addresses of the picture and of the result, the bytes from
row to row of the picture, the levels of a row, all levels (fewer than 2**31), the low and the high word of the key.
The result's rows are one after the other."""


@triton.jit
def add_words(orders, table):
    """Add to each level the entry of a table that a 16-bit word of Philox names, and clip: pictures along axis 1.

    Numpy counts the blocks from 1, and takes the lowest 16 bits of a word first.
    """
    order = orders + tl.program_id(1) * 7
    first = tl.program_id(0) * 128
    n_levels = tl.load(order + 4).to(tl.int32)
    if first * 16 >= n_levels:
        return
    source = tl.load(order).to(tl.pointer_type(tl.uint8))
    result = tl.load(order + 1).to(tl.pointer_type(tl.uint8))
    stride, line = tl.load(order + 2), tl.load(order + 3).to(tl.int32)
    low, high = tl.load(order + 5).to(tl.uint64), tl.load(order + 6).to(tl.uint64)
    counter, zero = (first + 1 + tl.arange(0, 128)).to(tl.uint64), tl.zeros((128,), dtype=tl.uint64)
    a, b, c, d = tl.philox_impl(counter, zero, zero, zero, low, high)
    words = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (128, 4, 1))
    shifts = (16 * tl.arange(0, 4)).to(tl.uint64)
    parts = tl.reshape((words >> shifts[None, None, :]) & 0xFFFF, (2048,)).to(tl.int32)
    i = first * 16 + tl.arange(0, 2048)
    inside = i < n_levels
    y = i // line
    level = tl.load(source + y * stride + (i - y * line), mask=inside, other=0).to(tl.int32)
    sums = level + tl.load(table + parts, mask=inside, other=0).to(tl.int32)
    tl.store(result + i, tl.minimum(tl.maximum(sums, 0), 255).to(tl.uint8), mask=inside)
