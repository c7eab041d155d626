"""How good a fitted state is on the rows kept for selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.head.metrics import balanced_accuracy, binary_metrics, macro_f1
from heads.head.protocol import Prediction

__all__ = ["log_loss", "paper_score", "selection_score", "task_score"]

_LEAST = float(np.finfo(np.float32).eps)  # what float32 keeps of 1 - p


def task_score(task: Task, y: IntArray, proba: NDArray[np.floating[Any]]) -> float:
    """Score one task on rows to which it applies, at least one.

    Balanced accuracy at the threshold 0.5 of a binary task, macro F1 of a multiclass one; both in [0, 1].
    """
    if task.kind == "binary":
        return balanced_accuracy(y, (proba >= 0.5).astype(np.int64))
    return macro_f1(y, proba.argmax(axis=1))


def log_loss(
    task: Task, y: IntArray, proba: NDArray[np.floating[Any]], *, weights: NDArray[np.float64] | None = None
) -> float:
    """Return the mean of ``-log`` of the probability of each row's class, over at least one row of one task.

    With ``weights`` (n,) each is multiplied by that of its row.

    A probability counts as 1.2e-7 at least: to float32 one that is as close to 1 is 1.
    """
    picked = np.where(y == 1, proba, 1 - proba) if task.kind == "binary" else proba[np.arange(len(y)), y]
    losses = -np.log(np.maximum(picked.astype(np.float64), _LEAST))
    return float(losses.mean() if weights is None else (weights * losses).mean())


def selection_score(prediction: Prediction, targets: Targets, tasks: Sequence[Task]) -> float:
    """Return the mean `task_score` over the tasks that have rows.

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
