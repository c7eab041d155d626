"""Nominal 95 % intervals cover the truth in 92 to 98.5 % of simulated data sets of 15, 50 and 300 groups.

400 data sets a line (300 for A and B), 300 resamples each, on the logit scale for figures and as they are for
differences. A: 4 rows a group, two of each class, a normal effect of the group on every score. B: 8 rows a group, one
of each class, and how hard a group is varies. Rates: rows of one class, 2 a group, errors correlated by 0.2 within it.
One standard error of a coverage of 0.95 is 0.011 to 0.013.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from heads.statistics.decisions import DecisionCounts, balanced_accuracy, false_positive_rate, macro_f1
from heads.statistics.intervals import Scale, bound
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import Measure, resample

pytestmark = pytest.mark.slow

Simulate = Callable[[np.random.Generator, int], Measure]
N_CLASSES, GROUP_SD = 8, 0.7
SD = math.sqrt(1 + GROUP_SD**2)


def phi(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def coverage(
    simulate: Simulate, n_groups: int, truth: dict[str, float], *, n_sets: int, scale: Scale = "logit"
) -> dict[str, float]:
    rng = np.random.default_rng(n_groups)
    hits = dict.fromkeys(truth, 0)
    for k in range(n_sets):
        found = resample(simulate(rng, n_groups), n_groups, n_resamples=300, seed=k)
        for name, true in truth.items():
            interval = bound(found[name], n_groups, scale=scale)
            hits[name] += interval.low <= true <= interval.high
    return {name: hit / n_sets for name, hit in hits.items()}


def simulate_a(rng: np.random.Generator, n_groups: int) -> Measure:
    groups, y = np.repeat(np.arange(n_groups), 4), np.tile([0, 1], 2 * n_groups)
    scores = 2.0 * y - 1 + rng.normal(0, GROUP_SD, n_groups)[groups] + rng.normal(0, 1, len(y))
    counts = DecisionCounts.count(y, (scores > 0).astype(np.int64), groups, n_classes=2)
    ranked = RankedScores.sort(y, scores, groups)
    return lambda weights: {
        "balanced_accuracy": balanced_accuracy(counts.confusion(weights)),
        "auc": ranked.measure(weights, ())["auc"],
    }


def count_b(rng: np.random.Generator, hard: np.ndarray) -> DecisionCounts:
    """Decisions that are wrong as often as their group is hard, each wrong class alike: F1 is the accuracy."""
    y = np.tile(np.arange(N_CLASSES), len(hard))
    groups = np.repeat(np.arange(len(hard)), N_CLASSES)
    other = (y + rng.integers(1, N_CLASSES, len(y))) % N_CLASSES
    return DecisionCounts.count(y, np.where(rng.random(len(y)) < hard[groups], other, y), groups, n_classes=N_CLASSES)


def simulate_b(rng: np.random.Generator, n_groups: int) -> Measure:
    counts = count_b(rng, rng.beta(2, 3, n_groups))  # 0.4 on average
    return lambda weights: {"macro_f1": macro_f1(counts.confusion(weights))}


def simulate_difference(rng: np.random.Generator, n_groups: int) -> Measure:
    hard = rng.beta(2, 3, n_groups)
    ours, theirs = count_b(rng, hard * 0.75), count_b(rng, hard)
    return lambda weights: {"gain": macro_f1(ours.confusion(weights)) - macro_f1(theirs.confusion(weights))}


def simulate_rate(rate: float) -> Simulate:
    def simulate(rng: np.random.Generator, n_groups: int) -> Measure:
        errors = rng.binomial(2, rng.beta(4 * rate, 4 * (1 - rate), n_groups))  # correlated by 1 / (4 + 1)
        said = (np.arange(2) < errors[:, None]).astype(np.int64).reshape(-1)
        groups = np.repeat(np.arange(n_groups), 2)
        counts = DecisionCounts.count(np.zeros_like(said), said, groups, n_classes=2)
        return lambda weights: {"fpr": false_positive_rate(counts.confusion(weights))}

    return simulate


@pytest.mark.parametrize("n_groups", [15, 50, 300])
def test_intervals_of_both_tasks_cover_what_they_claim(n_groups: int) -> None:
    truth = {"balanced_accuracy": phi(1 / SD), "auc": phi(2 / (SD * math.sqrt(2)))}
    found = coverage(simulate_a, n_groups, truth, n_sets=300)
    found |= coverage(simulate_b, n_groups, {"macro_f1": 0.6}, n_sets=300)
    found |= coverage(simulate_difference, n_groups, {"gain": 0.1}, n_sets=300, scale="identity")
    assert all(0.92 <= share <= 0.985 for share in found.values()), found


@pytest.mark.parametrize(("n_groups", "rate"), [(15, 0.1), (50, 0.03), (300, 0.01), (300, 0.03)])
def test_intervals_of_rates_near_0_cover_what_they_claim(n_groups: int, rate: float) -> None:
    found = coverage(simulate_rate(rate), n_groups, {"fpr": rate}, n_sets=400)
    assert 0.92 <= found["fpr"] <= 0.985, found


@pytest.mark.parametrize(("n_groups", "rate"), [(15, 0.02), (50, 0.005), (300, 0.001)])
def test_intervals_of_rates_with_hardly_an_event_cover_at_least_what_they_claim(n_groups: int, rate: float) -> None:
    """Most data sets have no event, and share one interval: no method has a coverage between."""
    assert coverage(simulate_rate(rate), n_groups, {"fpr": rate}, n_sets=400)["fpr"] >= 0.95
