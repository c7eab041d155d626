"""Maps fitted on calibrating rows, and kept only where rows that they were not fitted on have a lower log loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import BoolArray, IntArray
from heads.verdicts.maps import LogisticMap, ProbabilityMaps, log_odds

__all__ = ["Scores", "fit_logistic", "fit_maps", "fit_temperature"]

Float64Array = NDArray[np.float64]

_RIDGE = 1.0
"""What a deviation of 1 from the raw scores costs, squared and halved, in nats: as one row, so that few stay sane."""
_STEPS, _TOLERANCE = 100, 1e-10
_FOLDS = 5
_CLIP = 1e-7
_SLOPES, _INTERCEPTS, _COOLNESS = (1e-3, 1e3), (-1e3, 1e3), (1e-2, 1e2)


@dataclass(frozen=True)
class Scores:
    """What a head says of the ``n`` rows that one of its tasks applies to, in V views of their pictures.

    Attributes
    ----------
    y : int64 array (n,)
        Class indices.
    proba : float32 array (V, n) or (V, n, K)
        Raw: of class 1 of a binary task, of all classes of another.
    groups : int64 array (n,)
        Rows of one group are no independent draws.
    """

    y: IntArray
    proba: NDArray[np.float32]
    groups: IntArray

    def __len__(self) -> int:
        return len(self.y)

    @property
    def has_all_classes(self) -> bool:
        """Whether both classes of a binary task occur."""
        return len(np.unique(self.y)) == 2

    def select(self, rows: BoolArray) -> Scores:
        """Return some rows."""
        return Scores(self.y[rows], self.proba[:, rows], self.groups[rows])


def fit_maps(a: Scores, b: Scores | None, *, prior: float | None) -> ProbabilityMaps:
    """Fit a map of task A and a temperature of task B, over all views alike, and keep what helps.

    Each is fitted on four fifths of the groups and compared with raw scores on the fifth, in turn. It is kept if the
    log loss of all these is lower than without it, and in no view higher. A is compared at the share of AI of the
    calibrating rows, to which raw scores are moved as well.

    Parameters
    ----------
    a, b : Scores
        Of calibrating rows.
    prior : float or None
        Share of AI rows that raw P(AI) stands for; None if unknown: then nothing is said of A.
    """
    maps = ProbabilityMaps(prior)
    if prior is not None and a.has_all_classes:
        share = float(np.mean(a.y == 1))

        def fit_a(rows: Scores) -> ProbabilityMaps:
            return replace(maps, a=fit_logistic(rows, prior=prior) if rows.has_all_classes else None)

        def losses_a(rows: Scores, fitted: ProbabilityMaps) -> Float64Array:
            p = fitted.p_ai(rows.proba, prior=share)
            return -np.log(np.maximum(np.where(rows.y == 1, p, 1 - p), _CLIP))

        if _wins(a, maps, fit_a, losses_a):
            maps = fit_a(a)
    if b is not None and len(b):

        def fit_b(rows: Scores) -> ProbabilityMaps:
            return ProbabilityMaps(b=fit_temperature(rows))

        def losses_b(rows: Scores, fitted: ProbabilityMaps) -> Float64Array:
            shares = np.stack([fitted.p_generator(view) for view in rows.proba])
            return -np.log(np.maximum(shares[:, np.arange(len(rows)), rows.y], _CLIP))

        if _wins(b, ProbabilityMaps(), fit_b, losses_b):
            maps = replace(maps, b=fit_temperature(b))
    return maps


def fit_logistic(scores: Scores, *, prior: float | None) -> LogisticMap | None:
    """Fit evidence to the log-odds of raw P(AI) with equal weight on both classes, which have to occur.

    Platt's map ("Probabilistic outputs for support vector machines", 1999), by Newton's method, with a light ridge
    towards the evidence that raw scores of ``prior`` are by themselves. None if they do not rise with the label.
    """
    offset = 0.0 if prior is None else float(log_odds(prior))
    x = log_odds(scores.proba) - offset
    weight = len(scores) / (2 * np.bincount(scores.y, minlength=2)[scores.y] * len(x))
    raw = np.array([1.0, 0.0])

    def objective(point: Float64Array) -> float:
        z = point[0] * x + point[1]
        return float((weight * (np.logaddexp(0, z) - scores.y * z)).sum() + _RIDGE / 2 * ((point - raw) ** 2).sum())

    point, value = raw, objective(raw)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(point[0] * x + point[1])))
        residual, curvature = weight * (p - scores.y), weight * p * (1 - p)
        gradient = np.array([(residual * x).sum(), residual.sum()]) + _RIDGE * (point - raw)
        mixed = (curvature * x).sum()
        hessian = np.array([[(curvature * x * x).sum(), mixed], [mixed, curvature.sum()]]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while (found := objective(point - step)) > value and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        if value - found <= _TOLERANCE * max(1.0, abs(value)):
            break
        point, value = point - step, found
    slope, intercept = point.tolist()
    if slope < _SLOPES[0]:
        return None
    slope = min(slope, _SLOPES[1])
    return LogisticMap(slope, min(max(intercept - slope * offset, _INTERCEPTS[0]), _INTERCEPTS[1]))


def fit_temperature(scores: Scores) -> float:
    """Find the temperature of the lowest log loss, with a light ridge towards 1.

    Guo and others, "On calibration of modern neural networks" (2017). The loss is convex in 1 / temperature: Newton's
    steps, halved intervals where they leave the bracket. Rows whose class has probability 0 say nothing.
    """
    possible = scores.proba > 0
    logits = np.log(np.where(possible, scores.proba, 1), dtype=np.float64)
    own = np.take_along_axis(logits, scores.y[None, :, None], axis=2)[:, :, 0]
    counts = np.take_along_axis(possible, scores.y[None, :, None], axis=2)[:, :, 0] / len(logits)
    low, high = _COOLNESS
    inverse = 1.0
    for _ in range(_STEPS):
        scaled = np.where(possible, inverse * logits, -np.inf)
        shares = np.exp(scaled - scaled.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        mean = (shares * logits).sum(axis=2)
        slope = float((counts * (mean - own)).sum()) + _RIDGE * (inverse - 1)
        spread = (shares * logits**2).sum(axis=2) - mean**2
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / (float((counts * spread).sum()) + _RIDGE)
        step = step if low <= step <= high else (low + high) / 2
        if abs(step - inverse) < _TOLERANCE:
            break
        inverse = step
    return 1 / inverse


def _wins(
    scores: Scores,
    raw: ProbabilityMaps,
    fit: Callable[[Scores], ProbabilityMaps],
    losses: Callable[[Scores, ProbabilityMaps], Float64Array],
) -> bool:
    """Compare maps with raw scores on rows of groups that the maps were not fitted on."""
    groups = np.unique(scores.groups, return_inverse=True)[1].reshape(-1)
    n_rows = np.bincount(groups)
    if len(n_rows) < 2:
        return False
    # Groups with like classes go to different folds.
    order = np.argsort(np.bincount(groups, weights=scores.y) / n_rows, kind="stable")
    fold_of = np.empty(len(order), dtype=np.int64)
    fold_of[order] = np.arange(len(order)) % _FOLDS
    fold = fold_of[groups]
    gains = losses(scores, raw)
    for number in np.unique(fold).tolist():
        held = fold == number
        gains[:, held] -= losses(scores.select(held), fit(scores.select(~held)))
    of_views = gains.mean(axis=1)
    return bool(of_views.mean() > 0 and of_views.min() >= 0)
