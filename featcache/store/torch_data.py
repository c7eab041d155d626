"""A store as a torch data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

__all__ = ["Batch", "FeatureDataset", "Vectors"]


class Batch(Sequence[dict[str, Any]]):
    """Items of one batch: a sequence of dicts, cut out of whole columns only when asked for.

    Attributes
    ----------
    columns : mapping of name to tensor
        First dimension: the items.
    """

    def __init__(self, columns: Mapping[str, torch.Tensor]) -> None:
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

    An item is a dict with ``label_a`` and ``label_b`` (int64) and one float32 vector a modality, NaN where the sample
    has none. A DataLoader asks for whole batches (``__getitems__``), so a batch costs one read. With
    ``collate_fn=FeatureDataset.collate`` it also stays one tensor a column, which is many times faster than to be
    taken apart into items and stacked again. Faster still, where features fit in memory: index
    ``store.arrays(split)``.

    Parameters
    ----------
    labels : mapping of name to (n,) int64
        ``label_a`` and ``label_b`` of the rows.
    features : mapping of modality to Vectors
        The vectors of the same rows.
    """

    def __init__(self, labels: Mapping[str, NDArray[np.int64]], features: Mapping[str, Vectors]) -> None:
        # Labels and places only: a worker that is started afresh is sent no more than it needs, and opens files itself.
        self._labels = dict(labels)
        self._features = dict(features)

    def __len__(self) -> int:
        return len(self._labels["label_a"])

    def __getitem__(self, i: int) -> dict[str, Any]:
        item: dict[str, Any] = self.__getitems__([i])[0]
        return item

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the items of one batch."""
        wanted = np.asarray(indices, dtype=np.int64)
        columns = {name: torch.from_numpy(values[wanted]) for name, values in self._labels.items()}
        columns |= {m: torch.from_numpy(places.read(wanted)) for m, places in self._features.items()}
        return Batch(columns)

    @staticmethod
    def collate(items: Sequence[dict[str, Any]]) -> Any:
        """Return the columns of a batch as they were read; for a DataLoader's ``collate_fn``."""
        return items.columns if isinstance(items, Batch) else default_collate(list(items))
