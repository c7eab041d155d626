"""Class names as tasks: one over all of them, or real or not (A) and which of the others (B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heads.data.tasks import IntArray, Targets, Task, build_targets, default_tasks
from heads.errors import InputError
from heads.head.metrics import joint_proba, verdict
from heads.head.protocol import FloatArray, Prediction

__all__ = ["ClassTasks", "find_real"]

_LONGEST = 1000


@dataclass(frozen=True)
class ClassTasks:
    """What a head learns, so that it can tell classes apart.

    Attributes
    ----------
    names : tuple of str
        Of the classes, in their order; what a task has of them goes into files.
    real : int or None
        The place of the real class; None: no class is special.
    """

    names: tuple[str, ...]
    real: int | None = None

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise InputError(f"y has one class, {', '.join(map(repr, self.names))}, expected two or more")
        odd = [name for name in self.names if not 0 < len(name) <= _LONGEST or self.names.count(name) > 1]
        if odd:
            raise InputError(f"class {odd[0]!r:.80} of y is empty, longer than {_LONGEST} characters or there twice")

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the head; of two classes, or where one is real, the first one is binary."""
        if self.real is not None:
            return default_tasks([self.names[code] for code in self._others])
        return (Task("class", "binary" if len(self.names) == 2 else "multiclass", self.names),)

    @cached_property
    def _others(self) -> list[int]:
        return [code for code in range(len(self.names)) if code != self.real]

    def targets(self, codes: IntArray) -> Targets:
        """Return the targets of rows of some classes: (n,)."""
        if self.real is None:
            return build_targets(self.tasks, {"class": codes})
        is_other = codes != self.real
        place = np.full(len(self.names), -1)
        place[self._others] = np.arange(len(self._others))
        y = {"a": is_other.astype(np.int64), "b": place[codes]}
        return build_targets(self.tasks, {task.name: y[task.name] for task in self.tasks})

    def proba(self, prediction: Prediction) -> FloatArray:
        """Return the probability of each class, in their order: (n, K) float32."""
        if self.real is not None:
            out = np.empty((len(prediction), len(self.names)), dtype=np.float32)
            out[:, [self.real, *self._others]] = joint_proba(prediction, self.tasks)
            return out
        p = prediction.proba["class"]
        return np.stack([1 - p, p], axis=1) if len(self.names) == 2 else p

    def decide(self, prediction: Prediction, threshold: float) -> IntArray:
        """Return the class of each row: (n,).

        Where one is real, this is the verdict: real below the threshold on the probability of being another, else the
        likeliest of the others. Without one it is the likeliest class.
        """
        if self.real is None:
            return np.asarray(self.proba(prediction).argmax(axis=1))
        order = np.array([self.real, *self._others])
        return np.asarray(order[verdict(prediction, threshold, self.tasks)])


def find_real(classes: Sequence[object], real: object) -> int | None:
    """Return the place of the real class among those that occur; None if none is named."""
    if real is None:
        return None
    if real not in classes:
        found = ", ".join(repr(name) for name in classes[:8])
        raise InputError(f"real is {real!r:.80}, which y does not have: its classes are {found}")
    return list(classes).index(real)
