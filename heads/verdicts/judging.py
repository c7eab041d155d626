"""Verdicts on rows: what is decided by raw scores at an operating point, and with which probabilities it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import AI, REAL, BoolArray, IntArray, Task, joint_tasks
from heads.head.metrics import joint_proba
from heads.head.protocol import FloatArray, Prediction
from heads.verdicts.maps import ProbabilityMaps
from heads.verdicts.novelty import NOVEL_UP_TO
from heads.verdicts.points import OperatingPoint
from heads.verdicts.sets import GeneratorSets

__all__ = ["UNLIKE", "UNSURE", "UNSURE_CODE", "Judgement", "judge", "no_judgement", "verdict_classes"]

UNSURE = "unsure"
UNSURE_CODE = -1
UNLIKE = "unlike the training pictures"
"""Why verdicts on such pictures are unsure where it is asked for."""
_UNLIKE_CODE = -2
_REASONS = {UNSURE_CODE: "between the thresholds", _UNLIKE_CODE: UNLIKE}


@dataclass(frozen=True)
class Judgement:
    """What is said of ``n`` rows.

    Attributes
    ----------
    raw : float32 array (n,)
        P(AI) as the head gave it: what verdicts compare with thresholds.
    p_ai : float32 array (n,)
        P(AI) at the prior.
    proba : float32 array (n, K + 1)
        Probabilities of real and of each generator (of real and AI, if there is no task B); they sum to 1.
    verdict : int64 array (n,)
        0 real, ``1 + k`` generator k (1 is AI, if there is no task B), -1 unsure, -2 unsure as `UNLIKE`.
    classes : tuple of str
        Names of the columns of ``proba``.
    in_set : bool array (n, K) or None
        Which generators are in each row's set; None where the run has no sets.
    novelty : float64 array (n,) or None
        P-value of each row's being like the training pictures; None where the run cannot tell.
    """

    raw: FloatArray
    p_ai: FloatArray
    proba: FloatArray
    verdict: IntArray
    classes: tuple[str, ...]
    in_set: BoolArray | None = None
    novelty: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def words(self) -> list[str]:
        """The verdict on task A of each row: ``real``, ``ai`` or ``unsure``."""
        return [UNSURE if code < 0 else AI if code else REAL for code in self.verdict.tolist()]

    @property
    def names(self) -> list[str]:
        """The verdict's class of each row: one of ``classes``, or ``unsure``."""
        return [UNSURE if code < 0 else self.classes[code] for code in self.verdict.tolist()]

    @property
    def reasons(self) -> list[str | None]:
        """Why each row is unsure: ``between the thresholds`` or `UNLIKE`; None where it is not."""
        return [_REASONS.get(code) for code in self.verdict.tolist()]

    @property
    def is_unlike(self) -> BoolArray:
        """Which rows are called unlike the training pictures: (n,)."""
        if self.novelty is None:
            return np.zeros(len(self), dtype=np.bool_)
        return self.novelty <= NOVEL_UP_TO

    def with_novelty(self, novelty: NDArray[np.float64] | None, *, abstains: bool = False) -> Judgement:
        """Return the same with p-values beside it; ``abstains``: rows that are unlike the training ones are unsure."""
        found = replace(self, novelty=novelty)
        if not abstains:
            return found
        return replace(found, verdict=np.where(found.is_unlike, _UNLIKE_CODE, self.verdict))

    @property
    def sets(self) -> list[str] | None:
        """The generators that each row may be by if it is AI, joined by ``|``; None where the run has no sets."""
        if self.in_set is None:
            return None
        return [
            "|".join(name for name, is_in in zip(self.classes[1:], row, strict=True) if is_in) for row in self.in_set
        ]


def judge(
    prediction: Prediction,
    tasks: Sequence[Task],
    *,
    point: OperatingPoint,
    maps: ProbabilityMaps,
    prior: float | None = None,
    sets: GeneratorSets | None = None,
) -> Judgement:
    """Decide each row at an operating point: real, AI with the likeliest generator, or unsure.

    Parameters
    ----------
    prediction : Prediction
        Raw, as a head gives it.
    tasks : sequence of Task
    point : OperatingPoint
    maps : ProbabilityMaps
    prior : float, optional
        Share of AI at which probabilities are given; verdicts do not depend on it.
    sets : GeneratorSets, optional
        What chooses the generators that each row may be by, of raw probabilities too.
    """
    a, b = joint_tasks(tasks)
    raw = prediction.proba[a.name]
    generator = prediction.proba[b.name].argmax(axis=1) if b else np.zeros(len(raw), dtype=np.int64)
    codes = np.where(point.is_ai(raw), 1 + generator, 0)
    codes[point.is_unsure(raw)] = UNSURE_CODE
    mapped = maps.apply(prediction, tasks, prior=prior)
    return Judgement(
        raw=raw,
        p_ai=mapped.proba[a.name],
        proba=joint_proba(mapped, tasks),
        verdict=codes.astype(np.int64),
        classes=verdict_classes(tasks),
        in_set=None if sets is None or b is None else sets.choose(prediction.proba[b.name]),
    )


def no_judgement(tasks: Sequence[Task], *, sets: GeneratorSets | None = None) -> Judgement:
    """Return what is said of no rows at all."""
    classes = verdict_classes(tasks)
    nothing = np.empty(0, dtype=np.float32)
    in_set = None if sets is None else np.empty((0, len(classes) - 1), dtype=np.bool_)
    return Judgement(nothing, nothing, np.empty((0, len(classes)), np.float32), np.empty(0, np.int64), classes, in_set)


def verdict_classes(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return ``real`` and the generators, or ``real`` and ``ai`` if no generators are known."""
    b = joint_tasks(tasks)[1]
    return (REAL, *(b.classes if b else (AI,)))
