"""A store as a torch data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from featcache.files.string_column import StringColumn

__all__ = ["Batch", "FeatureDataset", "Vectors"]


class Batch(Sequence[dict[str, Any]]):
    """Items of one batch: a sequence of dicts, cut out of whole columns only when asked for.

    Attributes
    ----------
    columns : mapping of name to tensor or list of str
        First dimension: the items.
    """

    def __init__(self, columns: Mapping[str, torch.Tensor | list[str]]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(self.columns["label_a"])

    def __getitem__(self, i: Any) -> Any:
        return {name: column[i] for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))


class Vectors(Protocol):
    """Vectors that can be read by position."""

    def read(self, indices: NDArray[np.int64], /) -> NDArray[np.float32]:
        """Read some of them: (m, d)."""
        ...


class FeatureDataset(Dataset[dict[str, Any]]):
    """Rows of a store as tensors; works in DataLoader workers however they are started.

    An item is a dict with ``sample_id`` (str), ``label_a`` and ``label_b`` (int64), and of each modality a float32
    vector by its name and ``has_<modality>`` (bool), whether the sample has one: where it has none, the vector is NaN.
    A DataLoader asks for whole batches (``__getitems__``), so a batch costs one read. With
    ``collate_fn=FeatureDataset.collate`` it also stays one tensor a column (ids: a list), which is many times faster
    than to be taken apart into items and stacked again. Faster still, where features fit in memory: index
    ``store.arrays(split)``.

    Parameters
    ----------
    labels : mapping of name to (n,) int64
        ``label_a`` and ``label_b`` of the rows.
    features : mapping of modality to Vectors
        The vectors of the same rows.
    sample_ids : StringColumn
        Names of all samples.
    rows : (n,) int64
        Which of these samples the items are.
    """

    def __init__(
        self,
        labels: Mapping[str, NDArray[np.int64]],
        features: Mapping[str, Vectors],
        *,
        sample_ids: StringColumn,
        rows: NDArray[np.int64],
    ) -> None:
        # Labels and places only: a worker that is started afresh is sent no more than it needs, and opens files itself.
        self._labels = dict(labels)
        self._features = dict(features)
        self._sample_ids = sample_ids
        self._rows = rows

    def __len__(self) -> int:
        return len(self._labels["label_a"])

    def __getitem__(self, i: int) -> dict[str, Any]:
        item: dict[str, Any] = self.__getitems__([i])[0]
        return item

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the items of one batch."""
        wanted = np.asarray(indices, dtype=np.int64)
        columns: dict[str, torch.Tensor | list[str]]
        columns = {"sample_id": [self._sample_ids[row] for row in self._rows[wanted].tolist()]}
        columns |= {name: torch.from_numpy(values[wanted]) for name, values in self._labels.items()}
        for modality, places in self._features.items():
            vectors = torch.from_numpy(places.read(wanted))
            columns |= {modality: vectors, f"has_{modality}": ~vectors[:, 0].isnan()}
        return Batch(columns)

    @staticmethod
    def collate(items: Sequence[dict[str, Any]]) -> Any:
        """Return the columns of a batch as they were read; for a DataLoader's ``collate_fn``."""
        return items.columns if isinstance(items, Batch) else default_collate(list(items))
