"""Counts, means and scatter of rows: what ridge regression, discriminants and principal components need of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heads.data.row_source import RowSource, as_source
from heads.data.tasks import IntArray
from heads.errors import HeadsError
from heads.head.protocol import FloatArray
from heads.head.threads import in_order

__all__ = ["Moments"]

_CHUNK = 2**22  # values that are held in another precision at a time

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """The first two moments of rows in groups: counts, means, and the scatter within the groups.

    Those of disjoint sets of rows add up (`join`), and those of fine groups give those of coarse ones (`merge`),
    so one pass over a matrix serves every union of such sets and every way to label its groups.

    Attributes
    ----------
    counts : int64 array (g,)
        Rows of each group.
    means : float64 array (g, d)
        Zeros where a group has no row.
    scatter : float64 array (d, d)
        Sum over the rows of the outer product of their deviation from the mean of their group.
    """

    counts: IntArray
    means: Float64Array
    scatter: Float64Array

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def centres(self) -> Float64Array:
        """Where the groups' means lie from the mean of all rows: (g, d)."""
        return self.means - self.counts @ self.means / self.n

    @classmethod
    def of(
        cls,
        X: FloatArray | RowSource,
        *,
        rows: IntArray | None = None,
        groups: IntArray | None = None,
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Measure rows of ``X`` (n, d) in one reading: memory beside the result is a few dozen MB.

        Chunks are measured around their own means, and joined as `join` does.

        Parameters
        ----------
        X : float32 array (n, d), or RowSource
            Of a source, the clean view.
        rows : int array, optional
            Which ones; default all.
        groups : int array (n,), optional
            Group of each row of ``X``, counted from 0; default one group.
        dtype : {float64, float32}
            Precision of the products within a chunk; chunks are summed in float64. float32 is twice as fast.
        """
        source = as_source(X)
        rows = np.arange(source.n_rows) if rows is None else rows
        groups = np.zeros(source.n_rows, dtype=np.int64) if groups is None else groups
        if len(rows) == 0:
            raise HeadsError("X has no rows to measure, expected at least one")
        n_groups, d = int(groups.max()) + 1, source.n_columns
        counts = np.zeros(n_groups, dtype=np.int64)
        means, scatter = np.zeros((n_groups, d)), np.zeros((d, d))
        step = max(1, _CHUNK // d)
        chunks = (rows[start : start + step] for start in range(0, len(rows), step))
        read = ((source.read(chunk), groups[chunk]) for chunk in chunks)
        measure = partial(_measure, n_groups=n_groups, dtype=dtype)
        for found, own, products in in_order(measure, read, n_bytes=8 * (2 * min(step, len(rows)) + d) * d):
            scatter += products
            share = found / np.maximum(counts + found, 1)
            moved = own - means
            if counts.any():
                between = np.sqrt(counts * share)[:, None] * moved
                scatter += between.T @ between
            means += share[:, None] * moved
            counts += found
        return cls(counts, means, scatter)

    @classmethod
    def join(cls, parts: Sequence[Moments]) -> Self:
        """Return the moments of disjoint sets of rows together (Chan, Golub & LeVeque 1983, eq. 2.1).

        A fold's training rows are the join of the other folds': nothing of its own rows ever enters.
        """
        counts = np.sum([part.counts for part in parts], axis=0)
        totals = np.sum([part.counts[:, None] * part.means for part in parts], axis=0)
        means = totals / np.maximum(counts, 1)[:, None]
        scatter = parts[0].scatter.copy()
        for part in parts[1:]:
            scatter += part.scatter
        between = np.concatenate([np.sqrt(part.counts)[:, None] * (part.means - means) for part in parts])
        scatter += between.T @ between
        return cls(counts, means, scatter)

    def merge(self, into: IntArray | None = None) -> Moments:
        """Return the moments of coarser groups: group ``i`` becomes part of group ``into[i]``; default one group."""
        into = np.zeros(len(self.counts), dtype=np.int64) if into is None else into
        share = np.equal.outer(np.arange(int(into.max()) + 1), into) * self.counts
        counts = share.sum(axis=1)
        means = (share @ self.means) / np.maximum(counts, 1)[:, None]
        between = np.sqrt(self.counts)[:, None] * (self.means - means[into])
        return Moments(counts, means, self.scatter + between.T @ between)

    def transform(self, mean: Float64Array, inverse_scale: Float64Array) -> Moments:
        """Return the moments of the rows standardised by a mean and an inverse scale (d,)."""
        scatter = self.scatter * inverse_scale
        scatter *= inverse_scale[:, None]
        return Moments(self.counts, (self.means - mean) * inverse_scale, scatter)


def _measure(
    chunk: tuple[NDArray[Any], IntArray], *, n_groups: int, dtype: DTypeLike
) -> tuple[IntArray, Float64Array, NDArray[Any]]:
    """Return counts (g,) and means (g, d) of rows in groups, and the scatter around these, (d, d)."""
    values, of = chunk
    if not np.isfinite(values).all():
        first = int(np.argmin(np.isfinite(values).all(axis=0)))
        raise HeadsError(f"X has values that are NaN or infinite, the first in column {first}")
    found = np.bincount(of, minlength=n_groups)
    sums = np.equal.outer(np.arange(n_groups), of).astype(np.float64) @ values.astype(np.float64)
    own = sums / np.maximum(found, 1)[:, None]
    deviation = (values - own[of]).astype(dtype, copy=False)
    return found, own, deviation.T @ deviation
