"""Which fitted state is best: scores on the rows kept for selection, and what those rows must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.head.metrics import balanced_accuracy, binary_metrics, macro_f1
from heads.head.protocol import FloatArray, Prediction
from heads.head.scaling import check_features

__all__ = ["check_fit_rows", "check_parts", "paper_score", "selection_score", "task_score"]


def task_score(task: Task, y: IntArray, proba: NDArray[np.floating[Any]]) -> float:
    """Score one task on rows to which it applies, at least one.

    Balanced accuracy at the threshold 0.5 of a binary task, macro F1 of a multiclass one; both in [0, 1].
    """
    if task.kind == "binary":
        return balanced_accuracy(y, (proba >= 0.5).astype(np.int64))
    return macro_f1(y, proba.argmax(axis=1))


def selection_score(prediction: Prediction, targets: Targets, tasks: Sequence[Task]) -> float:
    """Return the mean `task_score` over the tasks that have rows: both tasks choose, not A's F1 alone.

    A task's rows are those to which it applies: B is scored on true AI rows whose generator is known.

    Raises
    ------
    HeadsError
        If no task applies to any row.
    """
    scores = []
    for task in tasks:
        rows = targets.applies[task.name]
        if rows.any():
            scores.append(task_score(task, targets.y[task.name][rows], prediction.proba[task.name][rows]))
    if not scores:
        raise HeadsError(f"none of the {len(targets)} select rows has a label, expected at least one")
    return float(np.mean(scores))


def paper_score(prediction: Prediction, targets: Targets, tasks: Sequence[Task]) -> float:
    """Return the first task's binary F1 at 0.5: how the paper chooses its epoch (always-AI scores 0.909)."""
    name = tasks[0].name
    rows = targets.applies[name]
    if tasks[0].kind != "binary" or not rows.any():
        raise HeadsError(f"none of the select rows has a label of a binary task {name!r}, expected at least one")
    score = binary_metrics(targets.y[name][rows], prediction.proba[name][rows], 0.5)["f1_binary"]
    assert score is not None
    return score


def check_fit_rows(
    tasks: Sequence[Task], X: FloatArray, targets: Targets, *, select: tuple[FloatArray, Targets]
) -> None:
    """Refuse rows that cannot train or choose a head.

    Every task needs a training row to which it applies, a binary one both classes; the select rows need one
    label. Matrices are finite float32, with one column count and one row a target.
    """
    check_features(X)
    check_features(select[0], n_features=X.shape[1], what="X of the select rows")
    for what, matrix, given in (("training", X, targets), ("select", *select)):
        _check_length(what, matrix, given)
    _check_labels(tasks, targets, select[1])


def check_parts(
    tasks: Sequence[Task], X: FloatArray, targets: Targets, parts: Sequence[tuple[IntArray, IntArray]]
) -> None:
    """Refuse parts of a matrix's rows, to train on and to select with, for the reasons of `check_fit_rows`.

    Rows that no part names may hold anything.
    """
    _check_length("the parts'", X, targets)
    named = np.zeros(len(X), dtype=np.bool_)
    for rows, chosen in parts:
        named[rows] = named[chosen] = True
    check_features(X if named.all() else X[named])
    for rows, chosen in parts:
        _check_labels(tasks, targets.select(rows), targets.select(chosen))


def _check_length(what: str, X: FloatArray, targets: Targets) -> None:
    if len(X) != len(targets):
        raise HeadsError(f"{what} X has {len(X)} rows, its targets have {len(targets)}")


def _check_labels(tasks: Sequence[Task], targets: Targets, select: Targets) -> None:
    for task in tasks:
        y = targets.y[task.name][targets.applies[task.name]]
        if len(y) == 0:
            raise HeadsError(f"none of the {len(targets)} training rows has a label of task {task.name!r}")
        if task.kind == "binary" and y.min() == y.max():
            raise HeadsError(
                f"all {len(y)} labelled training rows of task {task.name!r} are {task.classes[y[0]]!r}: "
                f"expected both {task.classes[0]!r} and {task.classes[1]!r}"
            )
    if not any(select.applies[task.name].any() for task in tasks):
        raise HeadsError(f"none of the {len(select)} select rows has a label, expected at least one")
