"""The rows that are audited: those of train and valid whose label is known, in grouped folds. Test is never read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from featcache import FeatureStore, link_rows
from heads.data.features import Features, features_of, known_generators
from heads.data.folds import Part, build_parts
from heads.data.loading import fit_splits
from heads.data.tasks import BoolArray, IntArray, Task, default_tasks
from heads.errors import HeadsError

__all__ = ["FOLDS", "AuditRows", "read_rows"]

FOLDS = 5


@dataclass(frozen=True)
class AuditRows:
    """``n`` labelled rows.

    Attributes
    ----------
    features : Features
        Labels, groups and keys; no vectors.
    numbers : int64 array (n,)
        Of the rows in the store.
    groups : int64 array (n,)
        Number of the set of rows that belong together (`featcache.link_rows`), from 0.
    parts : tuple of Part
        One a fold.
    splits : tuple of str
        Where they come from: ``train``, ``valid`` or both.
    """

    features: Features
    numbers: IntArray
    groups: IntArray
    parts: tuple[Part, ...]
    splits: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def n_groups(self) -> int:
        """Sets of rows that belong together."""
        return int(self.groups.max()) + 1

    @property
    def fold(self) -> IntArray:
        """Number of each row's fold: (n,)."""
        found = np.empty(len(self), np.int64)
        for number, part in enumerate(self.parts):
            found[part.score_rows] = number
        return found

    def y(self, task: Task) -> IntArray:
        """Return each row's class of a task, -1 where the task does not apply: (n,)."""
        targets = self.features.targets
        return np.where(targets.applies[task.name], targets.y[task.name], -1)

    def parts_of(self, rows: BoolArray) -> Iterator[Part]:
        """Yield each fold's part of some rows; their numbers stay."""
        for part in self.parts:
            yield Part(*(numbers[rows[numbers]] for numbers in (part.fit_rows, part.select_rows, part.score_rows)))

    def renumber(self, rows: BoolArray) -> IntArray:
        """Return the groups of some rows, numbered from 0 without gaps."""
        return np.unique(self.groups[rows], return_inverse=True)[1].reshape(-1).astype(np.int64)


def read_rows(store: FeatureStore) -> AuditRows:
    """Read labels and groups, and deal the rows to folds that no group, caption or picture crosses.

    Raises
    ------
    HeadsError
        If no row has a label, or all make fewer sets than there are folds.
    """
    splits = fit_splits(store, needs_valid=False)
    numbers = np.concatenate([store.row_numbers(split) for split in splits])
    arrays = store.read(numbers, selections={})
    tasks = default_tasks(known_generators(arrays.label_b.astype(np.int64), arrays.class_names))
    features = features_of([arrays], {}, tasks=tasks)
    labelled = features.labelled
    if not labelled.any():
        raise HeadsError(f"none of the {len(labelled)} rows of {' and '.join(splits)} is known to be real or AI")
    kept = features.select(labelled)
    return AuditRows(kept, numbers[labelled], link_rows(kept), build_parts(kept, FOLDS), tuple(splits))
