"""The threshold of every run: by balanced accuracy on calibrating rows, steady where they are few."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray
from heads.verdicts.fitting import Scores, fit_logistic
from heads.verdicts.maps import log_odds

__all__ = ["THRESHOLD_RULE", "choose_balanced", "neutral_threshold"]

THRESHOLD_RULE = "balanced accuracy, median of 200 group bootstraps, shrunk to neutral"
"""What a run says of `choose_balanced`."""

Float64Array = NDArray[np.float64]

_RESAMPLES = 200
_SHRINKAGE = 2.0
_GROUPS_OF_NEUTRAL = 20.0
_STEPS = 9
_MOST_ERRORS = 3.0
_CHUNK = 2**18
_MOST = float(log_odds(1.0))


def choose_balanced(scores: Scores, *, prior: float | None) -> float:
    """Choose the threshold on raw P(AI) with the best balanced accuracy; both classes have to occur.

    Scores become evidence by a class-balanced logistic map. Of the cuts with the best balanced accuracy in each of 200
    resamples of groups the median is taken, and moved towards the map's 0 by as much as they disagree: with variance v
    over the resamples a median m becomes ``max(0, 1 - 2 v / m²) m`` (the positive part of James and Stein's
    estimator). Resamples of a few groups agree without being right: what is left is moved, on log-odds, towards
    `neutral_threshold`, which counts as 20 groups, but not to where balanced accuracy on these rows falls by more than
    three of its standard errors.

    Parameters
    ----------
    scores : Scores
        Of task A on calibrating rows.
    prior : float or None
        Share of AI rows that raw P(AI) stands for; None if unknown.
    """
    fitted = fit_logistic(scores, prior=prior)
    neutral = _neutral(prior)
    slope, intercept = (1.0, -neutral) if fitted is None else (fitted.slope, fitted.intercept)
    cuts = np.concatenate(list(_best_cuts(scores, slope * log_odds(scores.proba) + intercept)))
    cut = 0.0
    if len(cuts):
        middle = float(np.median(cuts))
        spread = float(cuts.var())
        cut = max(0.0, 1 - _SHRINKAGE * spread / middle**2) * middle if middle else 0.0
    n_groups = min(_effective_groups(scores, code) for code in (0, 1))
    distance = (cut - intercept) / slope - neutral
    shares = np.linspace(n_groups / (n_groups + _GROUPS_OF_NEUTRAL), 1, _STEPS)
    candidates = [_sigmoid(neutral + share * distance) for share in shares.tolist()]
    return next(found for found in candidates if _errors_lost(scores, candidates[-1], found) <= _MOST_ERRORS)


def neutral_threshold(prior: float | None) -> float:
    """Return the raw P(AI) that speaks for neither class: the share of AI in training, or 0.5 if that is unknown."""
    return _sigmoid(_neutral(prior))


def _best_cuts(scores: Scores, evidence: Float64Array) -> Iterator[Float64Array]:
    """Yield the best cuts of resamples, a few at a time; resamples without one of the classes have none."""
    n_views = len(evidence)
    order = np.argsort(evidence, axis=None, kind="stable")
    values = evidence.reshape(-1)[order]
    is_ai = np.tile(scores.y == 1, n_views)[order]
    names, own = np.unique(scores.groups, return_inverse=True)
    own = own.reshape(-1)
    group = np.tile(own, n_views)[order]
    # A cut stands between two scores that differ; calling all rows real is as good as chance, which 0 stands for.
    is_cut = np.append(values[1:] > values[:-1], True)
    cuts = np.append((values[1:] + values[:-1]) / 2, 0.0)
    n_of, ai_of = (n_views * np.bincount(rows, minlength=len(names)) for rows in (own, own[scores.y == 1]))
    rng = np.random.default_rng(0)
    step = max(1, _CHUNK // len(values))
    for start in range(0, _RESAMPLES, step):
        weight = np.array([_draw(rng, len(names)) for _ in range(min(step, _RESAMPLES - start))])
        n_ai = weight @ ai_of
        n_real = weight @ n_of - n_ai
        known = (n_ai > 0) & (n_real > 0)
        # Balanced accuracy in whole numbers, so that a tie is a tie: the closest to 0 of equally good ones wins.
        gain = np.where(is_ai, -n_real[known, None], n_ai[known, None])
        gain *= weight[known].take(group, axis=1)
        np.cumsum(gain, axis=1, out=gain)
        resample, place = np.nonzero((gain == gain[:, is_cut].max(axis=1, keepdims=True)) & is_cut)
        best = np.lexsort((np.abs(cuts[place]), resample))
        yield cuts[place[best[np.unique(resample[best], return_index=True)[1]]]]


def _effective_groups(scores: Scores, code: int) -> float:
    """Return how many groups of one size tell as much of a class as those that there are (Kish, 1965)."""
    sizes = np.bincount(np.unique(scores.groups[scores.y == code], return_inverse=True)[1].reshape(-1))
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _errors_lost(scores: Scores, before: float, after: float) -> float:
    """Return by how many standard errors over groups balanced accuracy falls from one threshold to another."""
    weight = len(scores) / (2 * np.bincount(scores.y, minlength=2)[scores.y])
    hits, left = (((scores.proba >= cut) == (scores.y == 1)).mean(axis=0) for cut in (before, after))
    lost = weight * (hits - left)
    group = np.unique(scores.groups, return_inverse=True)[1].reshape(-1)
    error = float(np.sqrt((np.bincount(group, weights=lost - lost.mean()) ** 2).sum())) / len(lost)
    return float(lost.mean()) / error if error > 0 else 0.0


def _draw(rng: np.random.Generator, n_groups: int) -> IntArray:
    """Return how often each group occurs in a resample of as many."""
    return np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)


def _neutral(prior: float | None) -> float:
    return 0.0 if prior is None else float(log_odds(prior))


def _sigmoid(z: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(z, -_MOST, _MOST))))
