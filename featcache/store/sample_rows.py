"""Samples by row number: which rows a split has, which row a name is, and what the table says of some rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.cache.samples import SampleTable
from featcache.errors import FeatcacheError, did_you_mean
from featcache.files.string_column import StringColumn
from featcache.identity.terms import CONTENTS, SPLITS
from featcache.store.arrays import Arrays
from featcache.store.file_names import draw_names, has_file_names

__all__ = ["SampleRows"]


class SampleRows:
    """The rows of a sample table, by split and by name.

    Parameters
    ----------
    samples : SampleTable
        The table of the data set.
    """

    def __init__(self, samples: SampleTable) -> None:
        self._samples = samples

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Splits that have samples, in the order train, valid, test."""
        return tuple(s for s in SPLITS if (self._samples.split == s).any())

    @cached_property
    def names(self) -> NDArray[np.str_]:
        """Names of all samples: (n,)."""
        return self._samples.sample_id.to_array()

    @cached_property
    def _by_name(self) -> NDArray[np.intp]:
        return np.argsort(self.names, kind="stable")

    @cached_property
    def _has_file_names(self) -> bool:
        return has_file_names(self._samples)

    def of_split(self, split: str | None) -> NDArray[np.int64]:
        """Return the rows of a split (None: all), ascending; FeatcacheError if it has none."""
        if split is None:
            return np.arange(len(self._samples))
        rows = np.flatnonzero(self._samples.split == split)
        if not len(rows):
            known = ", ".join(self.splits) or "none"
            raise FeatcacheError(
                f"data set {self._samples.dataset!r} has no sample in split {split!r}; it has: {known}"
                f"{did_you_mean(split, self.splits)}"
            )
        return rows

    def of_names(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of samples, in the order asked for; FeatcacheError if a name is unknown."""
        wanted = np.asarray(names, dtype=np.str_).reshape(-1)
        order = self._by_name
        position = np.searchsorted(self.names, wanted, sorter=order)
        rows = order[np.minimum(position, len(order) - 1)]
        unknown = np.flatnonzero(self.names[rows] != wanted)
        if len(unknown):
            first, dataset = str(wanted[unknown[0]]), self._samples.dataset
            raise FeatcacheError(f"data set {dataset!r} has no sample {first!r} ({len(unknown)} unknown in all)")
        return rows

    def labels(self, rows: NDArray[np.integer]) -> dict[str, NDArray[np.int64]]:
        """Return ``label_a`` and ``label_b`` of some rows: (n,) each."""
        table = self._samples
        return {"label_a": table.label_a[rows].astype(np.int64), "label_b": table.label_b[rows].astype(np.int64)}

    def arrays(
        self,
        rows: NDArray[np.integer],
        features: Mapping[str, NDArray[np.float32]],
        present: Mapping[str, NDArray[np.bool_]],
    ) -> Arrays:
        """Put what the table says of some rows beside their vectors."""
        table, sample_id = self._samples, _strings(self._samples.sample_id, rows)
        drawn = np.array(draw_names(sample_id.tolist()), np.str_) if self._has_file_names else None
        return Arrays(
            sample_id=sample_id,
            split=table.split[rows],
            group=_strings(table.group, rows),
            label_a=table.label_a[rows],
            label_b=table.label_b[rows],
            class_names=table.class_names,
            features=features,
            present=present,
            keys={content: table.keys(content)[rows] for content in CONTENTS},
            origin=None if table.row_origin is None else _strings(table.row_origin, rows),
            draw_name=drawn,
        )


def _strings(column: StringColumn, rows: NDArray[np.integer]) -> NDArray[np.str_]:
    # A whole column is decoded faster at once, a batch row by row.
    if 4 * len(rows) > len(column):
        return np.asarray(column.to_array()[rows])
    return np.array([column[row] for row in rows.tolist()], dtype=np.str_).reshape(len(rows))
