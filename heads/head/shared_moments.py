"""Moments of the rows that parts and tasks share, from one pass: folds and label sets are sums of the finest sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heads.data.row_source import RowSource
from heads.data.tasks import BoolArray, IntArray, Targets, Task
from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.head.protocol import FloatArray

__all__ = ["PartMoments", "SharedMoments"]

_MAX_SETS = 64


class SharedMoments:
    """A matrix's rows, divided into the finest sets that any part or task tells apart, and their moments.

    With K folds and two tasks these are 2 K sets (AI rows of known generator and others), and their K matrices of
    8 d^2 bytes each are held at a time. A part is the sum of its own sets: what it leaves out never enters.

    Parameters
    ----------
    X : float32 array (n, d), or RowSource
        Of a source, the clean view: each row that a part names is read once.
    targets : Targets
        Of the rows of ``X``.
    parts : sequence of int array
        Row numbers of each part, none twice; rows to which no task applies are left out.
    """

    def __init__(self, X: FloatArray | RowSource, targets: Targets, parts: Sequence[IntArray]) -> None:
        applies = np.array(list(targets.applies.values()))  # (tasks, n)
        members = np.zeros((len(parts), len(targets)), dtype=np.bool_)
        for place, rows in enumerate(parts):
            if len(np.unique(rows)) != len(rows):
                raise HeadsError(f"part {place} names a row twice, expected each row once at most")
            members[place, rows] = applies[:, rows].any(axis=0)
        used = np.flatnonzero(members.any(axis=0))
        patterns, set_of = np.unique(np.concatenate([members, applies])[:, used], axis=1, return_inverse=True)
        if patterns.shape[1] > _MAX_SETS:
            raise HeadsError(
                f"{len(parts)} parts overlap in {patterns.shape[1]} ways, expected at most {_MAX_SETS}: "
                "give folds of one division"
            )
        self._names = list(targets.y)
        self._in_part, self._applies = patterns[: len(parts)], patterns[len(parts) :]
        labels = np.where(applies, np.array(list(targets.y.values())), -1)
        self._labels, groups = np.unique(labels, axis=1, return_inverse=True)
        groups = groups.reshape(-1).astype(np.int64)
        set_of = set_of.reshape(-1)
        self._moments = [Moments.of(X, rows=used[set_of == k], groups=groups) for k in range(patterns.shape[1])]

    def labelled(self, part: int) -> Moments:
        """Return the moments of all rows of a part to which a task applies, as one group."""
        return self._join(self._in_part[part]).merge()

    def of_task(self, part: int, task: Task) -> Moments:
        """Return the moments of a part's rows to which a task applies, grouped by the classes that they show."""
        place = self._names.index(task.name)
        found = self._join(self._in_part[part] & self._applies[place])
        classes = np.unique(self._labels[place][found.counts > 0])
        # Groups of other rows are empty here: where they are counted makes no difference.
        return found.merge(np.minimum(np.searchsorted(classes, self._labels[place]), len(classes) - 1))

    def _join(self, sets: BoolArray) -> Moments:
        return Moments.join([self._moments[k] for k in np.flatnonzero(sets)])


@dataclass(frozen=True)
class PartMoments:
    """One part: the moments of its rows, in place of the rows.

    Attributes
    ----------
    shared : SharedMoments
    part : int
        Which one.
    """

    shared: SharedMoments
    part: int

    def labelled(self) -> Moments:
        """Return `SharedMoments.labelled` of the part."""
        return self.shared.labelled(self.part)

    def of_task(self, task: Task) -> Moments:
        """Return `SharedMoments.of_task` of the part."""
        return self.shared.of_task(self.part, task)
