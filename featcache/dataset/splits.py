"""Seeded, grouped splits that stay as they are when rows are permuted or added."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featcache.errors import ManifestError
from featcache.identity.terms import SPLITS

__all__ = ["assign_splits", "clusters"]

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
    columns = [_codes(column) for column in links]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise ValueError(f"links must be columns of one length, got lengths {[len(c) for c in columns]}")
    n_rows = lengths.pop()
    ends = [_edges(column) for column in columns]
    left = np.concatenate([first for first, _ in ends])
    right = np.concatenate([rows for _, rows in ends])
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n_rows, n_rows))
    _, found = connected_components(graph, directed=False)
    _, first, numbers = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[numbers], dtype=np.int64)


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
    _, first, numbers = np.unique(codes[rows], return_index=True, return_inverse=True)
    return rows[first[numbers]], rows


def assign_splits(
    links: Links,
    *,
    sample_id: Sequence[str] | None = None,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
) -> NDArray[np.str_]:
    """Put each cluster of linked rows into train, valid or test as a whole.

    A hash of the seed and the cluster's smallest sample id decides, so the result depends neither on the
    order of the rows nor on other clusters: rows that are added change only the clusters that they join.
    The fractions hold in expectation over clusters; sizes are not balanced, which would give that up.

    Parameters
    ----------
    links : sequence of columns
        As for `clusters`.
    sample_id : sequence of str, optional
        Stable identity of each row. None: the row number, so that the order of the rows does matter.
    seed : int
        Another seed gives another assignment.
    fractions : tuple of float
        Of train, valid and test; at least 0, with sum 1.

    Returns
    -------
    ndarray of str, shape (n,)
        One of "train", "valid", "test" for each row.

    Raises
    ------
    ManifestError
        The fractions are negative, not finite, or do not sum to 1.
    ValueError
        The columns, or `sample_id`, differ in length.
    """
    parts = np.asarray(fractions, dtype=np.float64)
    if parts.shape != (3,) or not np.all(parts >= 0) or not np.isclose(parts.sum(), 1.0):
        raise ManifestError(f"fractions must be 3 numbers from 0 with sum 1, got {fractions!r}")
    numbers = clusters(links)
    n_rows = len(numbers)
    if sample_id is not None and len(sample_id) != n_rows:
        raise ValueError(f"sample_id must have one id for each of {n_rows} rows, got {len(sample_id)}")
    order = np.arange(n_rows) if sample_id is None else _order(sample_id)
    _, first = np.unique(numbers[order], return_index=True)
    rows = order[first].tolist()
    names = map(str, rows) if sample_id is None else (sample_id[row] for row in rows)
    drawn = np.fromiter((_uniform(seed, name) for name in names), dtype=np.float64, count=len(rows))
    chosen = np.searchsorted(np.cumsum(parts)[:2], drawn, side="right")
    return np.asarray(SPLITS)[chosen[numbers]]


def _order(sample_id: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(sorted(range(len(sample_id)), key=sample_id.__getitem__), dtype=np.int64)


def _uniform(seed: int, name: str) -> float:
    """Hash to [0, 1) in the same way on every machine, unlike the built-in hash."""
    text = f"featcache.splits/1 {seed} {name}"
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
