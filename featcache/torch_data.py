"""A store as a torch data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from featcache.store import FeatureStore, Selection

__all__ = ["FeatureDataset"]


class FeatureDataset(Dataset[dict[str, Any]]):
    """Rows of a store as tensors.

    An item is a dict with ``label_a`` and ``label_b`` (int64) and one float32 vector a modality. A DataLoader asks
    for whole batches (``__getitems__``), so a batch costs one read, not one a row.
    """

    def __init__(self, store: FeatureStore, rows: NDArray[np.integer], selections: Mapping[str, Selection]) -> None:
        self.store = store
        self.rows = rows
        self.selections = dict(selections)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of one batch."""
        table = self.store.samples
        rows = self.rows[np.asarray(indices)]
        columns = {
            "label_a": torch.from_numpy(table.label_a[rows].astype(np.int64)),
            "label_b": torch.from_numpy(table.label_b[rows].astype(np.int64)),
        }
        for modality, selection in self.selections.items():
            shards = self.store.shard_set(selection.fingerprint, selection.view)
            vectors, _ = shards.gather(selection.outputs, table.keys(modality)[rows])
            columns[modality] = torch.from_numpy(vectors)
        return [{name: column[i] for name, column in columns.items()} for i in range(len(rows))]
