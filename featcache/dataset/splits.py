"""Seeded, grouped splits that stay as they are when rows are permuted or added."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ManifestError
from featcache.identity.links import Links, clusters
from featcache.identity.terms import SPLITS

__all__ = ["assign_splits"]


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
        Columns of which equal values belong together, as for `clusters`.
    sample_id : sequence of str, optional
        Stable identity of each row. None: the row number, so that the order of the rows does matter.
    seed : int
        Another seed gives another assignment.
    fractions : tuple of float
        Shares of train, valid and test; at least 0, with sum 1.

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
