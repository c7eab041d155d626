"""How good predictions are: functions of targets and predictions; as scikit-learn's where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import BoolArray, IntArray, Targets, Task, joint_tasks
from heads.errors import HeadsError
from heads.head.protocol import FloatArray, Prediction
from heads.statistics.ranking import auc, average_precision

__all__ = [
    "Metrics",
    "always_ai",
    "balanced_accuracy",
    "binary_metrics",
    "joint_metrics",
    "joint_proba",
    "joint_targets",
    "macro_f1",
    "multiclass_metrics",
    "score_prediction",
    "verdict",
]

Metrics = dict[str, float | None]


def binary_metrics(y: IntArray, p: NDArray[np.floating[Any]], threshold: float) -> Metrics:
    """Score a binary task; the positive class is 1 (AI), predicted where ``p >= threshold``.

    Parameters
    ----------
    y : int array (n,)
        0 or 1, known for every row.
    p : float array (n,)
        Probability of class 1.
    threshold : float

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (mean recall over the classes in ``y``), ``f1_binary``,
        ``f1_macro``, ``f1_weighted``, ``auc``, ``average_precision``. What is undefined is None: ``auc`` if
        ``y`` has one class, ``average_precision`` without positives, everything without rows.
    """
    names = (
        "accuracy",
        "balanced_accuracy",
        "f1_binary",
        "f1_macro",
        "f1_weighted",
        "auc",
        "average_precision",
    )
    if len(y) == 0:
        return dict.fromkeys(names)
    pred = _is_ai(p, threshold).astype(np.int64)
    values = (
        float(np.mean(pred == y)),
        balanced_accuracy(y, pred),
        float(_class_f1(y, pred)[0][1:].sum()),  # no positive in y or pred: 0, as scikit-learn with zero_division=0
        macro_f1(y, pred),
        _weighted_f1(y, pred),
        auc(y, p) if y.any() and not y.all() else None,
        average_precision(y, p) if y.any() else None,
    )
    return dict(zip(names, values, strict=True))


def balanced_accuracy(y: IntArray, pred: IntArray) -> float:
    """Return the mean recall over the classes that occur in ``y``; both are class indices of at least one row."""
    n_targets = np.bincount(y)
    hits = np.bincount(y[y == pred], minlength=len(n_targets))
    return float(np.mean(hits[n_targets > 0] / n_targets[n_targets > 0]))


def macro_f1(y: IntArray, pred: IntArray) -> float:
    """Return the mean F1 over the classes that occur in ``y`` or ``pred``, class indices of at least one row."""
    return float(np.nanmean(_class_f1(y, pred)[0]))


def multiclass_metrics(y: IntArray, pred: IntArray, n_classes: int) -> Metrics:
    """Score a multiclass task: ``accuracy``, ``f1_macro``, ``f1_weighted``; None for each without rows.

    Macro F1 is the mean over the classes that occur in ``y`` or in ``pred``, scikit-learn's default: a class
    of the task that is neither present nor predicted says nothing about the classifier and is left out.
    """
    if len(y) == 0:
        return dict.fromkeys(("accuracy", "f1_macro", "f1_weighted"))
    for name, values in (("target", y), ("prediction", pred)):
        if values.min() < 0 or values.max() >= n_classes:
            outside = values[(values < 0) | (values >= n_classes)][0]
            raise HeadsError(f"{name} {int(outside)} is out of range: there are {n_classes} classes")
    return {
        "accuracy": float(np.mean(pred == y)),
        "f1_macro": macro_f1(y, pred),
        "f1_weighted": _weighted_f1(y, pred),
    }


def always_ai(y: IntArray) -> Metrics:
    """Return the `binary_metrics` of calling every row AI: the reference to print beside a result."""
    return binary_metrics(y, np.ones(len(y)), 0.5)


def joint_proba(prediction: Prediction, tasks: Sequence[Task]) -> FloatArray:
    """Return (n, K + 1) probabilities of real and of each generator: ``[1 - p_A, p_A * p(k | AI)]``.

    Without task B there are two columns: real and AI.
    """
    a, b = joint_tasks(tasks)
    p_ai = prediction.proba[a.name][:, None]
    return np.hstack([1 - p_ai, p_ai * prediction.proba[b.name] if b else p_ai])


def verdict(prediction: Prediction, threshold: float, tasks: Sequence[Task]) -> IntArray:
    """Decide each row's joint class: 0 (real) where ``p_A < threshold``, else 1 + argmax of p(k | AI).

    This is not the argmax of `joint_proba`, which calls a row real as soon as p_A is spread over enough
    generators. Without task B every AI row is 1.
    """
    a, b = joint_tasks(tasks)
    generator = prediction.proba[b.name].argmax(axis=1) if b else 0
    return np.where(_is_ai(prediction.proba[a.name], threshold), 1 + generator, 0).astype(np.int64)


def joint_targets(targets: Targets, tasks: Sequence[Task]) -> tuple[IntArray, BoolArray]:
    """Return each row's joint class (0 real, 1 + k generator k, -1 unknown) and where it is known."""
    a, b = joint_tasks(tasks)
    known_a, is_ai = targets.applies[a.name], targets.y[a.name] == 1
    generator, named = (targets.y[b.name], targets.applies[b.name]) if b else (np.zeros_like(is_ai), is_ai)
    known = known_a & (~is_ai | named)
    y = np.where(is_ai, 1 + generator, 0)
    return np.where(known, y, -1).astype(np.int64), known


def joint_metrics(prediction: Prediction, targets: Targets, *, threshold: float, tasks: Sequence[Task]) -> Metrics:
    """Score the `verdict` over the rows whose joint class is known, with the keys of `multiclass_metrics`."""
    b = joint_tasks(tasks)[1]
    y, known = joint_targets(targets, tasks)
    pred = verdict(prediction, threshold, tasks)
    return multiclass_metrics(y[known], pred[known], 1 + (len(b.classes) if b else 1))


def score_prediction(
    prediction: Prediction, targets: Targets, *, tasks: Sequence[Task], threshold: float
) -> dict[str, Any]:
    """Return ``{"tasks": {name: metrics}, "joint": metrics}``; a task over the rows to which it applies."""
    scores: dict[str, Metrics] = {}
    for task in tasks:
        rows = targets.applies[task.name]
        y, proba = targets.y[task.name][rows], prediction.proba[task.name][rows]
        if task.kind == "binary":
            scores[task.name] = binary_metrics(y, proba, threshold)
        else:
            scores[task.name] = multiclass_metrics(y, proba.argmax(axis=1), len(task.classes))
    joint = joint_metrics(prediction, targets, threshold=threshold, tasks=tasks)
    return {"tasks": scores, "joint": joint}


def _is_ai(p: NDArray[np.floating[Any]], threshold: float) -> BoolArray:
    # In float64: numpy would round the threshold to a float32 `p`, and so move it onto a score.
    return p.astype(np.float64) >= threshold


def _class_f1(y: IntArray, pred: IntArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return F1 and number of targets of each class from 0; F1 is NaN where a class is in neither.

    From counts, because scikit-learn checks its input for milliseconds, which an epoch of training would wait for.
    """
    n_classes = int(max(y.max(), pred.max())) + 1
    support = np.bincount(y, minlength=n_classes).astype(np.float64)
    both = support + np.bincount(pred, minlength=n_classes)
    hits = np.bincount(y[y == pred], minlength=n_classes)
    return np.divide(2 * hits, both, out=np.full(n_classes, np.nan), where=both > 0), support


def _weighted_f1(y: IntArray, pred: IntArray) -> float:
    f1, support = _class_f1(y, pred)
    return float(np.nansum(f1 * support) / len(y))
