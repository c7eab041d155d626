"""Rows that are linked by an id, directly or through others."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Links", "clusters"]

Links = Sequence[NDArray[np.integer[Any]] | Sequence[str | None]]


def clusters(links: Links) -> NDArray[np.int64]:
    """Number the groups of rows that are linked, directly or through other rows.

    Parameters
    ----------
    links : sequence of columns
        Each column has one id a row: integers (negative: no link), or strings (None: no link). Rows with one
        id in any column belong together; ids of different columns have nothing to do with each other.

    Returns
    -------
    ndarray of int64, shape (n,)
        Cluster numbers from 0, in order of first appearance.

    Raises
    ------
    ValueError
        There is no column, or the columns differ in length.
    """
    from scipy.sparse import coo_array  # not where nothing is linked: reading a store needs no scipy
    from scipy.sparse.csgraph import connected_components

    columns = [_codes(column) for column in links]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise ValueError(f"links must be columns of one length, got lengths {[len(c) for c in columns]}")
    n_rows = lengths.pop()
    ends = [_edges(column) for column in columns]
    left = np.concatenate([first for first, _ in ends])
    right = np.concatenate([rows for _, rows in ends])
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n_rows, n_rows))
    n_clusters, found = connected_components(graph, directed=False)
    rank = np.argsort(np.argsort(_first_rows(found, np.arange(n_rows), n_clusters)))
    return np.asarray(rank[found], dtype=np.int64)


def _codes(column: NDArray[np.integer[Any]] | Sequence[str | None]) -> NDArray[np.int64]:
    """Give ids as integers, -1 where there is no link."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "i":
        return column.astype(np.int64)
    if isinstance(column, np.ndarray) and column.dtype.kind == "u":  # may not fit, as hashes do
        return np.asarray(np.unique(column, return_inverse=True)[1], dtype=np.int64)
    seen: dict[object, int] = {}
    ids: Iterable[object] = column
    codes = (-1 if value is None else seen.setdefault(value, len(seen)) for value in ids)
    return np.fromiter(codes, dtype=np.int64)


def _edges(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Link each row to the first row with its id."""
    rows = np.flatnonzero(codes >= 0)
    numbers = codes[rows]
    if numbers.max(initial=-1) >= len(codes):
        numbers = np.unique(numbers, return_inverse=True)[1]
    return _first_rows(numbers, rows, len(codes))[numbers], rows


def _first_rows(numbers: NDArray[np.integer[Any]], rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the first of the rows with each number below ``size``, 0 where there is none."""
    first = np.zeros(size, dtype=np.int64)
    first[numbers[::-1]] = rows[::-1]  # of repeated numbers the last one assigned stays
    return first
