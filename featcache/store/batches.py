"""Going over a store that is larger than memory, batch by batch, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from featcache.errors import FeatcacheError
from featcache.store.arrays import Arrays

__all__ = ["BLOCK_ROWS", "WINDOW_ROWS", "Read", "Shuffle", "iterate_batches", "window_orders"]

Shuffle = Literal["global", "block"]
Positions = NDArray[np.int64]

BLOCK_ROWS = 256
"""Consecutive rows that a block shuffle keeps in one window: what is read from a disk at once."""
WINDOW_ROWS = 8192
"""Rows that a block shuffle holds in memory and mixes (a multiple of the batch size, and at least four batches)."""


class Read(Protocol):
    """What reads rows by number, in the order asked for."""

    def __call__(self, rows: Positions, *, is_random: bool = False) -> Arrays:
        """Read some rows; ``is_random``: they are scattered, so that reading ahead would be in vain."""
        ...


def window_orders(n_rows: int, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Positions, Positions]]:
    """Yield the windows of a block shuffle: blocks in random order, rows in random order within a window of blocks.

    Parameters
    ----------
    n_rows : int
        Rows to be shuffled.
    batch_size : int
        Every window but the last is a multiple of it.
    rng : numpy.random.Generator
        What the order is drawn from.

    Yields
    ------
    rows : (w,) int64
        Rows of one window, ascending: the order in which to read them.
    order : (w,) int64
        A permutation of the window: the order in which to give them out.
    """
    window = batch_size * max(4, -(-WINDOW_ROWS // batch_size))
    blocks = rng.permutation(-(-n_rows // BLOCK_ROWS))
    sizes = np.minimum(BLOCK_ROWS, n_rows - blocks * BLOCK_ROWS)
    ends = np.cumsum(sizes)
    for start in range(0, n_rows, window):
        position = np.arange(start, min(start + window, n_rows))
        block = np.searchsorted(ends, position, side="right")
        rows = blocks[block] * BLOCK_ROWS + position - (ends - sizes)[block]
        yield np.sort(rows), rng.permutation(len(rows))


def iterate_batches(
    read: Read, rows: Positions, *, batch_size: int, shuffle: Shuffle | None = None, seed: int = 0
) -> Iterator[Arrays]:
    """Yield every row once, ``batch_size`` at a time; the last batch may be shorter.

    Parameters
    ----------
    read : callable
        Reads the samples of some row numbers.
    rows : (n,) int64
        Row numbers in the sample table, ascending.
    batch_size : int
        Rows of a batch.
    shuffle : {"global", "block"}
        A permutation of all rows, read at random through the page cache; or blocks of `BLOCK_ROWS` rows in random
        order, mixed within windows of about `WINDOW_ROWS` rows that are read in order into memory. Default: in order.
    seed : int
        The same seed gives the same order.

    Raises
    ------
    FeatcacheError
        If the batch size is not positive or the kind of shuffle unknown.
    """
    if batch_size < 1:
        raise FeatcacheError(f"batch_size is {batch_size}, expected 1 or more")
    if shuffle is not None and shuffle not in get_args(Shuffle):
        raise FeatcacheError(f"shuffle is {shuffle!r}, expected None or one of {', '.join(get_args(Shuffle))}")
    if shuffle == "block":
        return _in_windows(read, rows, batch_size, seed)
    return _in_order(read, rows, batch_size, seed if shuffle else None)


def _in_order(read: Read, rows: Positions, batch_size: int, seed: int | None) -> Iterator[Arrays]:
    order = rows if seed is None else rows[np.random.default_rng(seed).permutation(len(rows))]
    for start in range(0, len(order), batch_size):
        yield read(order[start : start + batch_size], is_random=seed is not None)


def _in_windows(read: Read, rows: Positions, batch_size: int, seed: int) -> Iterator[Arrays]:
    for window, order in window_orders(len(rows), batch_size, np.random.default_rng(seed)):
        held = read(rows[window])
        for start in range(0, len(order), batch_size):
            yield held.select(order[start : start + batch_size])
