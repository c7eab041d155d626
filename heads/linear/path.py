"""A linear layer for each strength of a path, scored on the select rows of its task, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heads.data.tasks import Task
from heads.head.class_scores import Scores, calibrate
from heads.head.linear_layers import Layer
from heads.head.selecting import task_merit
from heads.linear.logistic import fit_path
from heads.linear.ridge import discriminant_path, ridge_path
from heads.linear.rows import LinearRows

__all__ = ["SOLVERS", "choose", "solve_path"]

_WEAK = 1.0

Record = dict[str, Any]


Step = tuple[Scores, Record]
Solver = Callable[[LinearRows, Task, Sequence[float], int], Iterator[Step]]


def solve_path(
    rows: LinearRows,
    task: Task,
    *,
    solver: str,
    strengths: Sequence[float],
    invariances: Sequence[float],
    max_iter: int,
) -> Iterator[tuple[Layer, Record]]:
    """Fit a task from the strongest regularisation to the weakest; yield each layer with its record, scored.

    Beyond a strength of 1, where fits take longest, it ends with the first one that is no better than all before it.
    """
    present, strengths, select = np.unique(rows.y(task)), sorted(strengths), rows.select(task)
    solve = SOLVERS[solver] if len(present) > 1 else _constant
    weights = rows.select_weights(task)
    for invariance in sorted(invariances, reverse=True):
        bent = rows.bent(invariance)
        merits: list[tuple[float, float]] = []
        for strength, (scores, found) in zip(strengths, solve(bent, task, strengths, max_iter), strict=True):
            layer = Layer.build(task, present, bent.straighten(scores))
            record = {"task": task.name, "strength": strength, "invariance": invariance, **found}
            record |= layer.score(task, *select, weights=weights)
            yield layer, record
            merits.append(_merit(task, record, n_views=rows.n_views))
            if strength > _WEAK and merits[-1] <= max(merits[:-1], default=(-np.inf, -np.inf)):
                break


def choose(task: Task, steps: Sequence[tuple[Layer, Record]], *, n_views: int) -> tuple[Layer, Record]:
    """Return the best step by `task_merit`, of equal ones that with the strongest regularisation.

    Without select rows of the task: the middle one.

    Parameters
    ----------
    task : Task
    steps : sequence of (Layer, record)
        As `solve_path` yields them.
    n_views : int
        That the head learns from.
    """
    if steps[0][1]["score"] is None:
        return steps[len(steps) // 2]
    return max(steps, key=lambda step: _merit(task, step[1], n_views=n_views))


def _merit(task: Task, record: Record, *, n_views: int) -> tuple[float, float]:
    """Return `task_merit` of a step; all are alike where the task has no select rows."""
    if record["score"] is None:
        return 0.0, 0.0
    return task_merit(task, n_views=n_views, score=record["score"], select_loss=record["select_loss"])


def _constant(rows: LinearRows, task: Task, strengths: Sequence[float], _: int) -> Iterator[Step]:
    for _strength in strengths:
        yield (np.zeros((1, len(rows.scaler.mean))), np.zeros(1)), {}


def _logistic(rows: LinearRows, task: Task, strengths: Sequence[float], max_iter: int) -> Iterator[Step]:
    y = np.unique(rows.y(task), return_inverse=True)[1]
    X, weights = rows.X(task), rows.weights(task)
    fits = fit_path(X, y, strengths=strengths, curvature=rows.curvature, max_iter=max_iter, weights=weights)
    for fit in fits:
        yield (fit.coef, fit.intercept), {"iterations": fit.iterations, "converged": fit.converged}


def _ridge(rows: LinearRows, task: Task, strengths: Sequence[float], _: int) -> Iterator[Step]:
    return _calibrated(rows, task, ridge_path(rows.moments(task), strengths))


def _lda(rows: LinearRows, task: Task, strengths: Sequence[float], _: int) -> Iterator[Step]:
    return _calibrated(rows, task, discriminant_path(rows.moments(task), strengths))


def _calibrated(rows: LinearRows, task: Task, path: Iterator[Scores]) -> Iterator[Step]:
    for scores, factor in calibrate(path, np.unique(rows.y(task)), *rows.select(task)):
        yield scores, {"factor": factor}


SOLVERS: Mapping[str, Solver] = {"logistic": _logistic, "ridge": _ridge, "lda": _lda}
