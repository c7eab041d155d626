"""What is to be predicted: tasks, their classes, and the rows to which each applies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heads.errors import HeadsError

__all__ = ["AI", "REAL", "UNKNOWN", "Targets", "Task", "build_targets", "default_tasks", "joint_tasks"]

REAL = "real"
AI = "ai"
UNKNOWN = -1

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
StrArray = NDArray[np.str_]


@dataclass(frozen=True)
class Task:
    """One question about a row.

    Attributes
    ----------
    name : str
        Short name, e.g. ``"a"``.
    kind : {"binary", "multiclass"}
        A binary task has one logit, that of ``classes[1]``; a multiclass task one per class.
    classes : tuple of str
        Class names; a target is an index into them.
    parent, parent_class : str or None
        If set, the task is conditional: it applies only to rows whose ``parent`` target is ``parent_class``.
    """

    name: str
    kind: Literal["binary", "multiclass"]
    classes: tuple[str, ...]
    parent: str | None = None
    parent_class: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise HeadsError(f"task {self.name!r} names a class twice: {self.classes!r}")
        if self.kind == "binary" and len(self.classes) != 2:
            raise HeadsError(f"binary task {self.name!r} has {len(self.classes)} classes, expected 2")
        if self.kind == "multiclass" and len(self.classes) < 2:
            raise HeadsError(f"multiclass task {self.name!r} has {len(self.classes)} classes, expected 2 or more")
        if (self.parent is None) != (self.parent_class is None):
            raise HeadsError(f"task {self.name!r} needs both parent and parent_class, or neither")

    def to_json(self) -> dict[str, object]:
        """Return what ``run.json`` says of the task."""
        return {**asdict(self), "classes": list(self.classes)}

    @property
    def n_logits(self) -> int:
        """Number of outputs that a head has for this task."""
        return 1 if self.kind == "binary" else len(self.classes)


@dataclass(frozen=True)
class Targets:
    """Targets of the same ``n`` rows for several tasks.

    Attributes
    ----------
    y : mapping of task name to int64 array (n,)
        Class indices; ``-1`` where unknown. Values of rows to which a task does not apply mean nothing.
    applies : mapping of task name to bool array (n,)
        Where the task is defined *and* its target known.
    origin : str array (n,) or None
        Where each row comes from, ``""`` where that is not said. None: it is said of no row.
    """

    y: Mapping[str, IntArray]
    applies: Mapping[str, BoolArray]
    origin: StrArray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.y.values())))

    @property
    def labelled(self) -> BoolArray:
        """Rows to which at least one task applies: (n,)."""
        labelled: BoolArray = np.any(list(self.applies.values()), axis=0)
        return labelled

    def select(self, rows: BoolArray | IntArray) -> Targets:
        """Return the targets of some rows, in the order of ``rows``."""
        return Targets(
            {k: v[rows] for k, v in self.y.items()},
            {k: v[rows] for k, v in self.applies.items()},
            None if self.origin is None else self.origin[rows],
        )

    def join(self, other: Targets) -> Targets:
        """Return these targets and, after them, those of other rows for the same tasks."""
        return Targets(
            {name: np.concatenate([y, other.y[name]]) for name, y in self.y.items()},
            {name: np.concatenate([applies, other.applies[name]]) for name, applies in self.applies.items()},
            None if self.origin is None or other.origin is None else np.concatenate([self.origin, other.origin]),
        )


def default_tasks(generators: Sequence[str]) -> tuple[Task, ...]:
    """Build task A (real or AI) and, where two generators or more are known, task B (which of them)."""
    a = Task("a", "binary", (REAL, AI))
    if len(generators) < 2:
        return (a,)
    return (a, Task("b", "multiclass", tuple(generators), parent="a", parent_class=AI))


def joint_tasks(tasks: Sequence[Task]) -> tuple[Task, Task | None]:
    """Return task A and, if there is one, task B, which splits A's second class; refuse anything else."""
    a, b = tasks[0], tasks[1] if len(tasks) > 1 else None
    is_pair = b is None or (b.kind == "multiclass" and b.parent == a.name and b.parent_class == a.classes[-1])
    if len(tasks) > 2 or a.kind != "binary" or a.parent is not None or not is_pair:
        raise HeadsError(
            "joint classes need a binary task and at most one multiclass task conditional on its second "
            f"class, found {[task.name for task in tasks]!r}"
        )
    return a, b


def build_targets(tasks: Sequence[Task], y: Mapping[str, NDArray[np.integer]]) -> Targets:
    """Work out to which rows each task applies.

    Parameters
    ----------
    tasks : sequence of Task
        A parent comes before its children.
    y : mapping of task name to integer array (n,)
        Class indices, ``-1`` unknown.
    """
    targets: dict[str, IntArray] = {}
    applies: dict[str, BoolArray] = {}
    classes = {task.name: task.classes for task in tasks}
    for task in tasks:
        values = np.asarray(y[task.name], dtype=np.int64)
        known = values >= 0
        if known.any() and values.max() >= len(task.classes):
            raise HeadsError(
                f"target {int(values.max())} of task {task.name!r} is out of range: it has {len(task.classes)} classes"
            )
        if task.parent is not None:
            if task.parent not in targets:
                raise HeadsError(f"task {task.name!r} names an unknown parent {task.parent!r}")
            assert task.parent_class is not None
            known &= targets[task.parent] == classes[task.parent].index(task.parent_class)
        targets[task.name] = values
        applies[task.name] = known
    return Targets(targets, applies)
