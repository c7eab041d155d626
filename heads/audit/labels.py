"""Labels that look wrong: where a head that never saw a row is as sure of another class as it is of that class's rows.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021).
What the head gets wrong while it is sure counts as a wrong label: shares are what labels alone would have to explain,
and with a weak head far too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.audit.evidence import Evidence, cross_fit
from heads.audit.noise import Converter
from heads.audit.rows import AuditRows
from heads.data.tasks import IntArray, Task
from heads.statistics.decisions import DecisionCounts, accuracy, balanced_accuracy, macro_f1, recalls, weighted_f1
from heads.statistics.intervals import Interval, bound
from heads.statistics.resampling import resample

__all__ = ["Candidate", "ClassLabels", "LabelAudit", "audit_labels", "confident_classes"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A row whose label looks wrong.

    Attributes
    ----------
    sample_id, path : str
        ``path`` is the picture's path or name, ``""`` without one.
    task, labelled, looks_like : str
        Classes.
    p_labelled, p_looks_like : float
        Out-of-fold probabilities of both.
    """

    sample_id: str
    path: str
    task: str
    labelled: str
    looks_like: str
    p_labelled: float
    p_looks_like: float


@dataclass(frozen=True)
class ClassLabels:
    """The rows that are labelled as one class.

    Attributes
    ----------
    name : str
    n, n_candidates : int
    threshold : float
        Mean probability that the head gives this class in its own rows: from there on it is sure. NaN without rows.
    wrong : Interval
        Estimated share of wrong labels.
    """

    name: str
    n: int
    n_candidates: int
    threshold: float
    wrong: Interval


@dataclass(frozen=True)
class LabelAudit:
    """The labels of one task.

    Attributes
    ----------
    task : str
    n, n_groups : int
        Rows that were scored, and sets of them that belong together.
    head : float
        Balanced accuracy of the head that scored them, out of fold, on the labels as they are.
    wrong : Interval
        Estimated share of wrong labels.
    classes : tuple of ClassLabels
    ceilings : dict of str to Interval
        What a head without any error would score on these labels: ``accuracy``, ``balanced_accuracy``, ``f1_macro``,
        ``f1_weighted``, and of task A ``auc``, which of decisions without scores is the balanced accuracy.
    converter : Converter or None
        From an accuracy on these labels to one on right ones; None where so many are wrong that there is none.
    candidates : tuple of Candidate
        The surest first.
    """

    task: str
    n: int
    n_groups: int
    head: float
    wrong: Interval
    classes: tuple[ClassLabels, ...]
    ceilings: dict[str, Interval]
    converter: Converter | None
    candidates: tuple[Candidate, ...]

    @property
    def is_told(self) -> bool:
        """Whether the head is good enough for shares and ceilings to mean something: half of the way from chance."""
        chance = 1 / sum(each.n > 0 for each in self.classes)
        return self.head >= (1 + chance) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        classes = [
            {
                **vars(each),
                "threshold": None if np.isnan(each.threshold) else each.threshold,
                "wrong": each.wrong.to_dict(),
            }
            for each in self.classes
        ]
        return {
            **vars(self),
            "is_told": self.is_told,
            "wrong": self.wrong.to_dict(),
            "classes": classes,
            "ceilings": {name: each.to_dict() for name, each in self.ceilings.items()},
            "converter": self.converter and vars(self.converter),
            "candidates": [vars(each) for each in self.candidates],
        }


def audit_labels(evidence: Evidence, rows: AuditRows, paths: NDArray[np.str_], task: Task) -> LabelAudit | None:
    """Look for wrong labels of a task; None where there are no rows of two classes that could be scored.

    Parameters
    ----------
    evidence : Evidence
        Whose scores are probabilities.
    rows : AuditRows
    paths : str array (n,)
        Of the rows' pictures.
    task : Task
    """
    proba = cross_fit(evidence, rows, task)
    scored = np.flatnonzero(~np.isnan(proba[:, 0]))
    y, proba = rows.y(task)[scored], proba[scored]
    if len(np.unique(y)) < 2:
        return None
    groups = np.unique(rows.groups[scored], return_inverse=True)[1].reshape(-1).astype(np.int64)
    n_classes, n_groups = len(task.classes), int(groups.max()) + 1
    thresholds, looks_like = confident_classes(y, proba)
    counts = DecisionCounts.count(y, looks_like, groups, n_classes=n_classes, n_decisions=n_classes + 1)
    resampled = resample(partial(_measure, counts), n_groups)
    wrong = bound(resampled["wrong"], n_groups, scale="logit")
    doubtful = (looks_like != y) & (looks_like < n_classes)
    classes = tuple(
        ClassLabels(
            name,
            int((y == k).sum()),
            int((doubtful & (y == k)).sum()),
            float(thresholds[k]),
            bound(resampled["wrong_of"][:, k], counts.count_groups(k), scale="logit"),
        )
        for k, name in enumerate(task.classes)
    )
    names = ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"]
    ceilings = {name: bound(resampled[name], n_groups, scale="logit") for name in names}
    if task.kind == "binary":
        ceilings["auc"] = ceilings["balanced_accuracy"]
    decided = DecisionCounts.count(y, proba.argmax(axis=1), groups, n_classes=n_classes)
    head = float(balanced_accuracy(decided.confusion(np.ones((1, n_groups))))[0])
    order = np.flatnonzero(doubtful)
    margin = proba[order, looks_like[order]] - proba[order, y[order]]
    candidates = tuple(
        Candidate(
            sample_id=str(rows.features.sample_id[scored[i]]),
            path=str(paths[scored[i]]),
            task=task.name,
            labelled=task.classes[y[i]],
            looks_like=task.classes[looks_like[i]],
            p_labelled=float(proba[i, y[i]]),
            p_looks_like=float(proba[i, looks_like[i]]),
        )
        for i in order[np.argsort(-margin, kind="stable")].tolist()
    )
    converter = Converter.build(wrong.estimate, n_classes)
    return LabelAudit(task.name, len(y), n_groups, head, wrong, classes, ceilings, converter, candidates)


def confident_classes(y: IntArray, proba: FloatArray) -> tuple[FloatArray, IntArray]:
    """Say of each row of which class a head is sure.

    Parameters
    ----------
    y : int64 array (n,)
        Labels.
    proba : float64 array (n, K)
        Of rows that the head was not fitted on.

    Returns
    -------
    thresholds : float64 array (K,)
        The mean probability of each class over its own rows; NaN without rows.
    sure : int64 array (n,)
        The likeliest of the classes whose threshold is reached; K where none is.
    """
    n_classes = proba.shape[1]
    own = [proba[y == k, k] for k in range(n_classes)]
    thresholds = np.array([values.mean() if len(values) else np.nan for values in own])
    reached = np.where(proba >= thresholds, proba, -1.0)  # of a class without rows never: NaN compares so
    return thresholds, np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), n_classes)


def _measure(counts: DecisionCounts, weights: FloatArray) -> dict[str, FloatArray]:
    """Return figures of the estimated counts by label and true class, under each weighting of the groups."""
    confusion = counts.confusion(weights)
    sure, labelled = confusion[:, :, : counts.n_classes], confusion.sum(axis=2, keepdims=True)
    of_sure = sure.sum(axis=2, keepdims=True)
    # Of a label in whose rows the head is never sure nothing is known: taken for right.
    right = np.broadcast_to(np.eye(counts.n_classes), sure.shape).copy()
    joint = np.divide(sure, of_sure, out=right, where=of_sure > 0) * labelled
    found = accuracy(joint)
    return {
        "wrong": 1 - found,
        "wrong_of": 1 - recalls(joint),
        "accuracy": found,
        "balanced_accuracy": balanced_accuracy(joint),
        "f1_macro": macro_f1(joint),
        "f1_weighted": weighted_f1(joint),
    }
