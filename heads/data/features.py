"""Aligned vectors, targets and identities of the rows that a head is fitted or judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache import Arrays, Selection
from heads.data.columns import Columns
from heads.data.fusion import check_fusion, fuse, fusion_modalities
from heads.data.tasks import UNKNOWN, Targets, Task, build_targets, default_tasks
from heads.errors import HeadsError

__all__ = ["Features", "features_of", "known_generators"]

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
StrArray = NDArray[np.str_]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """What is known of ``n`` rows. Nothing missing is ever replaced: a fusion refuses the rows it cannot use.

    Attributes
    ----------
    sample_id, split, group : str array (n,)
        ``split`` is ``""`` for rows in no split, ``group`` is ``""`` where none was given.
    vectors : mapping of modality to float32 array (n, d)
        Raw vectors; NaN in the rows that ``present`` excludes. Empty where they were left in the store.
    present : mapping of modality to bool array (n,)
        Whether the row has a vector.
    keys : mapping of modality to uint8 array (n, 32)
        sha256 of the content; zeros where the sample has none.
    targets : Targets
        Class indices of ``tasks``.
    tasks : tuple of Task
        What is to be predicted.
    unseen : bool array (n,)
        Rows made by a generator that no class of the tasks names: their B is unknown.
    outputs : mapping of modality to mapping of str to int
        The named outputs that stand in each modality's vectors, from left to right, and the columns of each.
    draw_name : str array (n,) or None
        By which name each row is drawn into a part of the rows. None: by its sample_id.
    origin : str array (n,) or None
        Where each row comes from, ``""`` where that is not said. None: the data say it of no row.
    """

    sample_id: StrArray
    split: StrArray
    group: StrArray
    vectors: Mapping[str, FloatArray]
    present: Mapping[str, BoolArray]
    keys: Mapping[str, NDArray[np.uint8]]
    targets: Targets
    tasks: tuple[Task, ...]
    unseen: BoolArray
    outputs: Mapping[str, Mapping[str, int]]
    draw_name: StrArray | None = None
    origin: StrArray | None = None

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def names(self) -> StrArray:
        """By which names rows are drawn, (n,): those of files without their endings."""
        return self.sample_id if self.draw_name is None else self.draw_name

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each modality."""
        return {modality: int(X.shape[1]) for modality, X in self.vectors.items()}

    @property
    def labelled(self) -> BoolArray:
        """Rows to which at least one task applies."""
        return self.targets.labelled

    def usable(self, fusion: str) -> BoolArray:
        """Return the rows that have every modality that ``fusion`` needs."""
        check_fusion(fusion, self.present, where="this cache")
        usable: BoolArray = np.all([self.present[modality] for modality in fusion_modalities(fusion)], axis=0)
        return usable

    def select(self, rows: BoolArray | IntArray) -> Features:
        """Return some rows, in the order of ``rows``."""
        return Features(
            self.sample_id[rows],
            self.split[rows],
            self.group[rows],
            {k: v[rows] for k, v in self.vectors.items()},
            {k: v[rows] for k, v in self.present.items()},
            {k: v[rows] for k, v in self.keys.items()},
            self.targets.select(rows),
            self.tasks,
            self.unseen[rows],
            self.outputs,
            None if self.draw_name is None else self.draw_name[rows],
            None if self.origin is None else self.origin[rows],
        )

    def columns(self, fusion: str) -> Columns:
        """Return what stands where in the `matrix` of ``fusion``."""
        return Columns.build({modality: self.outputs[modality] for modality in fusion_modalities(fusion)})

    def matrix(self, fusion: str) -> FloatArray:
        """Return the (n, d) matrix of ``fusion``; every row must be usable and finite."""
        refused = int(len(self) - self.usable(fusion).sum())
        if refused:
            raise HeadsError(f"fusion {fusion!r} cannot use {refused} of {len(self)} rows: a modality is missing")
        X = fuse(fusion, self.vectors)
        finite = np.isfinite(X).all(axis=1)
        if not finite.all():
            first = str(self.sample_id[int(np.argmin(finite))])
            raise HeadsError(
                f"the vector of sample {first!r} is not finite ({int((~finite).sum())} of {len(self)} rows): "
                "run featcache verify --deep"
            )
        return X


def features_of(
    parts: Sequence[Arrays], selections: Mapping[str, Selection], *, tasks: Sequence[Task] | None = None
) -> Features:
    """Join arrays of one store and translate their labels into targets of ``tasks``."""
    first = parts[0]
    present = {m: np.concatenate([part.present[m] for part in parts]) for m in first.present}
    split = np.concatenate([part.split for part in parts])
    label_a = np.concatenate([part.label_a for part in parts]).astype(np.int64)
    label_b = np.concatenate([part.label_b for part in parts]).astype(np.int64)
    if tasks is None:
        complete = np.all([split == "train", *present.values()], axis=0)
        tasks = default_tasks(known_generators(label_b[complete], first.class_names))
    y_b, unseen = _map_generators(label_b, first.class_names, tasks)
    y = {task.name: y_b if task.parent is not None else label_a for task in tasks}
    origin = _join([part.origin for part in parts])
    return Features(
        np.concatenate([part.sample_id for part in parts]),
        split,
        np.concatenate([part.group for part in parts]),
        {m: np.concatenate([part.features[m] for part in parts]) for m in first.features},
        present,
        {m: np.concatenate([part.keys[m] for part in parts]) for m in first.keys},
        replace(build_targets(tasks, y), origin=origin),
        tuple(tasks),
        unseen,
        {m: dict(zip(s.outputs, s.widths, strict=True)) for m, s in selections.items()},
        _join([part.draw_name for part in parts]),
        origin,
    )


def _join(columns: Sequence[StrArray | None]) -> StrArray | None:
    """Put a column of several parts together that all of them have, or none: they are of one table."""
    known = [column for column in columns if column is not None]
    return np.concatenate(known) if known else None


def known_generators(label_b: IntArray, class_names: Sequence[str]) -> list[str]:
    """Return the names of the generators that occur among the labels, in the order of ``class_names``."""
    return [class_names[code] for code in np.unique(label_b) if code > 0]


def _map_generators(label_b: IntArray, class_names: Sequence[str], tasks: Sequence[Task]) -> tuple[IntArray, BoolArray]:
    """Translate the store's codes into class indices of the conditional task, by name."""
    names = next((task.classes for task in tasks if task.parent is not None), ())
    table = np.full(len(class_names) + 1, UNKNOWN, dtype=np.int64)  # the last entry serves code -1
    for code, name in enumerate(class_names):
        if code > 0 and name in names:
            table[code] = names.index(name)
    y = table[label_b]
    return y, (label_b > 0) & (y == UNKNOWN) & (len(names) > 0)
