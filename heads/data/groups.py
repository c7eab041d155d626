"""Rows that belong together: those of one group, of one picture, or of one caption where no group is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from heads.data.features import Features
from heads.data.tasks import IntArray

__all__ = ["row_sets"]


def row_sets(features: Features) -> IntArray:
    """Number the sets of rows that belong together, 0-based: (n,).

    Rows of one group are one set, and so are rows of one picture; of one caption too where no group is given.
    """
    n = len(features)
    columns = [_codes(features.group, np.asarray(features.group != ""))]
    for modality, keys in features.keys.items():
        has_key = keys.any(axis=1)
        if modality == "text":
            has_key = has_key & (features.group == "")
        columns.append(_codes(np.ascontiguousarray(keys).view("V32").reshape(n), np.asarray(has_key)))
    edges = []
    for codes in columns:
        rows = np.flatnonzero(codes >= 0)
        first = np.full(n + 1, -1)
        first[codes[rows][::-1]] = rows[::-1]
        edges.append(np.stack([rows, first[codes[rows]]]))
    a, b = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]


def _codes(values: NDArray[np.generic], use: NDArray[np.bool_]) -> IntArray:
    """Number the distinct values of the rows in use; -1 elsewhere."""
    codes = np.full(len(values), -1, dtype=np.int64)
    if use.any():
        codes[use] = np.unique(values[use], return_inverse=True)[1].reshape(-1)
    return codes
