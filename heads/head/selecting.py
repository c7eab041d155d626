"""By what the best fitted state (strength, epoch …) is chosen on the select rows.

Scores at a threshold are flat where one class is rare, so a binary task is chosen by its log loss. A multiclass one is
chosen by its macro F1, or, of a head that learns from several views, by its log loss over all of them: chosen by log
loss on one view, heads do worse on views that they have not seen. Epochs of networks are chosen for all tasks at once,
by ranks: `joint_merit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from heads.data.tasks import Targets, Task
from heads.errors import HeadsError
from heads.head.protocol import Prediction
from heads.head.task_scores import task_score
from heads.statistics.ranking import auc

__all__ = ["Criterion", "choose_criterion", "joint_merit", "task_merit"]

Criterion = Literal["log_loss", "macro_f1"]


def choose_criterion(task: Task, *, n_views: int) -> Criterion:
    """Say by what the states of a task are compared, of a head that learns from so many views."""
    return "log_loss" if task.kind == "binary" or n_views > 1 else "macro_f1"


def task_merit(task: Task, *, n_views: int, score: float, select_loss: float) -> tuple[float, float]:
    """Return what is largest for the best state of one task; of equal ones the first, most regularised, is best.

    Parameters
    ----------
    task : Task
    n_views : int
        That the head learns from.
    score, select_loss : float
        `task_score` and `log_loss` on the task's select rows, in all of these views.
    """
    if choose_criterion(task, n_views=n_views) == "log_loss":
        return -select_loss, score
    return score, -select_loss


def joint_merit(prediction: Prediction, targets: Targets, tasks: Sequence[Task]) -> float:
    """Return what is largest for the best state of all tasks together: an epoch of one network.

    The sum over the tasks of the AUC of a binary one and of the macro F1 of a multiclass one; a task without rows, or a
    binary one with rows of one class alone, says nothing. Not the log loss: a network is too sure of itself long before
    it ranks best, and maps that are fitted afterwards set that right.

    Parameters
    ----------
    prediction : Prediction
        Of the select rows, in all views that the head learns from.
    targets : Targets
        Of the same rows.
    tasks : sequence of Task

    Raises
    ------
    HeadsError
        If no task applies to any row.
    """
    if not targets.labelled.any():
        raise HeadsError(f"none of the {len(targets)} select rows has a label, expected at least one")
    merit = 0.0
    for task in tasks:
        rows = targets.applies[task.name]
        y, proba = targets.y[task.name][rows], prediction.proba[task.name][rows]
        if task.kind == "multiclass":
            merit += task_score(task, y, proba) if len(y) else 0.0
        elif y.any() and not y.all():
            merit += auc(y, proba)
    return merit
