"""Controls: the same heads on data from which what they are supposed to use was taken away.

A fusion that gains over the picture alone, and gains as much when every picture has another's caption, did not gain
from captions. A head that learns much from shuffled labels has seen what it must not see: rows that share a picture, or
group and labels, get the same new labels in all splits, and it is scored on these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache import link_rows
from heads.data.features import BoolArray, Features
from heads.data.folds import label_codes
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
    """Return targets in which rows have exchanged their labels, of all tasks together.

    Rows of one picture, or of one group (caption, where no group is given) and the same labels, get the same new ones,
    whatever splits they are in. Each split keeps the shares of its labels, counted by such sets.
    """
    rng = np.random.default_rng(seed)
    order, codes, labelled = np.arange(len(features)), label_codes(features), features.labelled
    numbers, firsts, place = np.unique(_label_sets(features, codes)[labelled], return_index=True, return_inverse=True)
    firsts = np.flatnonzero(labelled)[firsts]
    new = np.empty(len(numbers), dtype=np.int64)
    for split in np.unique(features.split[firsts]):
        mine = np.flatnonzero(features.split[firsts] == split)
        pool = np.flatnonzero(labelled & (features.split == split))
        pool = pool[np.argsort(codes[pool], kind="stable")]
        # Evenly spaced, the ends included: both classes of A stay.
        drawn = pool[np.linspace(0, len(pool) - 1, len(mine)).round().astype(np.int64)]
        new[mine] = rng.permutation(drawn)
    order[labelled] = new[place.reshape(-1)]
    return features.targets.select(order)


@dataclass(frozen=True)
class _Linked:
    group: NDArray[np.str_]
    keys: Mapping[str, NDArray[np.uint8]]


def _label_sets(features: Features, codes: IntArray) -> IntArray:
    """Number the sets of rows among which a head could know the label of one from another."""
    group, keys = features.group.tolist(), dict(features.keys)
    if "text" in keys:
        captions = keys.pop("text")
        known = np.asarray(captions.any(axis=1))
        group = [own or (captions[row].tobytes().hex() if known[row] else "") for row, own in enumerate(group)]
    named = [f"{code} {own}" if own else "" for code, own in zip(codes.tolist(), group, strict=True)]
    return link_rows(_Linked(np.array(named), keys))
