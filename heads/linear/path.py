"""A linear layer for each strength of a path, scored on the select rows of its task, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from heads.data.tasks import IntArray, Task
from heads.head.protocol import FloatArray
from heads.head.selecting import task_merit
from heads.head.task_scores import log_loss, task_score
from heads.linear.logistic import fit_path
from heads.linear.ridge import Scores, discriminant_path, fit_factor, ridge_path
from heads.linear.rows import LinearRows

__all__ = ["SOLVERS", "Layer", "choose", "solve_path"]

Float64Array = NDArray[np.float64]
Record = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A fitted task: logits ``X @ coef.T + intercept`` of the classes ``present`` in training."""

    coef: FloatArray  # (1, d) for a binary task, else (number of classes, d)
    intercept: FloatArray
    present: NDArray[np.bool_]  # (number of classes,)

    def proba(self, X: FloatArray, *, binary: bool) -> FloatArray:
        """Return the class probabilities of standardised rows, as in `heads.head.protocol.Prediction`."""
        # Weights of a file may be of any size: what is not finite then is told from the result.
        with np.errstate(over="ignore", invalid="ignore"):
            logits = (X @ self.coef.T + self.intercept).astype(np.float64)
            if binary:
                return np.asarray(expit(logits[:, 0]), dtype=np.float32)
            logits[:, ~self.present] = -np.inf
            return np.asarray(softmax(logits, axis=1), dtype=np.float32)


Step = tuple[Float64Array, Float64Array, Record]
Solver = Callable[[LinearRows, Task, Sequence[float], int], Iterator[Step]]


def solve_path(
    rows: LinearRows, task: Task, *, solver: str, strengths: Sequence[float], max_iter: int
) -> Iterator[tuple[Layer, Record]]:
    """Fit a task from the strongest regularisation to the weakest; yield each layer with its record, scored."""
    present, n_features = np.unique(rows.y(task)), len(rows.scaler.mean)
    is_present = np.isin(np.arange(len(task.classes)), present)
    strengths = sorted(strengths)
    solve = SOLVERS[solver] if len(present) > 1 else _constant
    select = rows.select(task)
    for strength, (found, bias, record) in zip(strengths, solve(rows, task, strengths, max_iter), strict=True):
        coef = np.zeros((task.n_logits, n_features), dtype=np.float32)
        intercept = np.zeros(task.n_logits, dtype=np.float32)
        # One logit of two classes is the second one's; the first one's stays 0.
        kept = present[-len(found) :] if task.kind == "multiclass" else np.array([0])
        coef[kept], intercept[kept] = found, bias
        layer = Layer(coef, intercept, is_present)
        scores = _score(task, layer, *select, weights=rows.select_weights(task))
        yield layer, {"task": task.name, "strength": strength, **record, **scores}


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

    def merit(step: tuple[Layer, Record]) -> tuple[float, float]:
        return task_merit(task, n_views=n_views, score=step[1]["score"], select_loss=step[1]["select_loss"])

    return max(steps, key=merit)


def _constant(rows: LinearRows, task: Task, strengths: Sequence[float], _: int) -> Iterator[Step]:
    for _strength in strengths:
        yield np.zeros((1, len(rows.scaler.mean))), np.zeros(1), {}


def _logistic(rows: LinearRows, task: Task, strengths: Sequence[float], max_iter: int) -> Iterator[Step]:
    y = np.unique(rows.y(task), return_inverse=True)[1]
    X, weights = rows.X(task), rows.weights(task)
    fits = fit_path(X, y, strengths=strengths, curvature=rows.curvature, max_iter=max_iter, weights=weights)
    for fit in fits:
        yield fit.coef, fit.intercept, {"iterations": fit.iterations, "converged": fit.converged}


def _ridge(rows: LinearRows, task: Task, strengths: Sequence[float], _: int) -> Iterator[Step]:
    return _calibrated(rows, task, ridge_path(rows.moments(task), strengths))


def _lda(rows: LinearRows, task: Task, strengths: Sequence[float], _: int) -> Iterator[Step]:
    return _calibrated(rows, task, discriminant_path(rows.moments(task), strengths))


def _calibrated(rows: LinearRows, task: Task, path: Iterator[Scores]) -> Iterator[Step]:
    """Make scores logits with a factor from the select rows; without such rows they are logits as they are."""
    present = np.unique(rows.y(task))
    X, y = rows.select(task)
    known = np.isin(y, present)
    X, y = X if known.all() else X[known], np.searchsorted(present, y[known])
    fits = list(path)
    stacked = np.concatenate([coef for coef, _ in fits]).astype(np.float32)
    scores = np.split(X @ stacked.T, len(fits), axis=1)
    for (coef, intercept), score in zip(fits, scores, strict=True):
        factor = fit_factor(score + intercept, y) if len(y) else 1.0
        if len(present) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        yield factor * coef, factor * intercept, {"factor": factor}


SOLVERS: Mapping[str, Solver] = {"logistic": _logistic, "ridge": _ridge, "lda": _lda}


def _score(task: Task, layer: Layer, X: FloatArray, y: IntArray, *, weights: Float64Array | None) -> Record:
    """Score a fit on select rows of its task; None without rows."""
    if len(y) == 0:
        return {"score": None, "select_loss": None}
    proba = layer.proba(X, binary=task.kind == "binary")
    return {"score": task_score(task, y, proba), "select_loss": log_loss(task, y, proba, weights=weights)}
