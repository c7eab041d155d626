"""Controls: the same heads on data from which what they are supposed to use was taken away.

A fusion that gains over the picture alone, and gains as much when every picture has another's caption, did not gain
from captions. A head that learns much from shuffled labels has seen what it must not see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heads.data.features import BoolArray, Features
from heads.data.row_source import RowSource
from heads.data.tasks import IntArray, Targets

__all__ = ["CONTROLS", "LABELS_SHUFFLED", "TEXT_SHUFFLED", "ShuffledColumns", "shuffle_labels", "shuffle_rows"]

TEXT_SHUFFLED = "text-shuffled"
LABELS_SHUFFLED = "labels-shuffled"
CONTROLS = (TEXT_SHUFFLED, LABELS_SHUFFLED)


class ShuffledColumns:
    """A source in which some columns of each row are those of another row.

    Parameters
    ----------
    source : RowSource
    span : slice
        The columns that are exchanged.
    order : int array (n,)
        Row i gets those of row ``order[i]``.
    """

    def __init__(self, source: RowSource, span: slice, order: IntArray) -> None:
        self._source, self._span, self._order = source, span, order
        self.n_views, self.n_all_views = source.n_views, source.n_all_views
        self.n_rows, self.n_columns = source.n_rows, source.n_columns

    def read(self, rows: IntArray, view: int = 0) -> NDArray[np.float32]:
        """Return some rows of a view."""
        X = np.array(self._source.read(rows, view))
        X[:, self._span] = self._source.read(self._order[rows], view)[:, self._span]
        return X


def shuffle_rows(features: Features, movable: BoolArray, *, seed: int) -> IntArray:
    """Return for each row another of its split, each once; rows that are not ``movable`` stay: (n,)."""
    rng = np.random.default_rng(seed)
    order = np.arange(len(features))
    for name in np.unique(features.split):
        rows = np.flatnonzero((features.split == name) & movable)
        order[rows] = rng.permutation(rows)
    return order


def shuffle_labels(features: Features, *, seed: int) -> Targets:
    """Return targets in which rows of a split have exchanged their labels, of all tasks together.

    For fitting and selecting; scores are taken against the true ones.
    """
    return features.targets.select(shuffle_rows(features, features.labelled, seed=seed))
