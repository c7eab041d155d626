"""Laws of the threshold by balanced accuracy: what it is, how it moves with a prior, and that it is steady."""

from __future__ import annotations

import statistics
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from heads.verdicts.balanced import choose_balanced, neutral_threshold
from heads.verdicts.fitting import Scores, fit_logistic
from heads.verdicts.maps import log_odds


def sigmoid(z: np.ndarray | float) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.asarray(z))))


def draw(n: int, *, seed: int, group_size: int = 1, n_views: int = 1, shift: float = 0.5) -> Scores:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    logits = 2 * (rng.normal(np.where(y == 1, 1.0, -1.0), 1.2) + 0.1 * rng.normal(size=(n_views, n))) + shift
    return Scores(y, sigmoid(logits).astype(np.float32), np.arange(n) // group_size)


def reference(scores: Scores, prior: float) -> float:
    fitted = fit_logistic(scores, prior=prior)
    assert fitted is not None
    evidence = (fitted.slope * log_odds(scores.proba) + fitted.intercept).tolist()
    distinct = sorted({e for view in evidence for e in view})
    cuts = [(low + high) / 2 for low, high in pairwise(distinct)] + [None]
    n_groups = max(scores.groups.tolist()) + 1
    rng = np.random.default_rng(0)
    best = []
    for _ in range(200):
        drawn = rng.integers(0, n_groups, n_groups).tolist()
        rows = [row for group in drawn for row in np.flatnonzero(scores.groups == group).tolist()]
        pairs = [(int(scores.y[row]), view[row]) for row in rows for view in evidence]
        n_ai = sum(y for y, _ in pairs)
        if n_ai in (0, len(pairs)):
            continue
        gains = {}
        for cut in cuts:
            hits = [0, 0]
            for y, e in pairs:
                hits[y] += (e >= cut) == (y == 1) if cut is not None else y == 0
            gains[cut] = hits[1] * (len(pairs) - n_ai) + hits[0] * n_ai
        equal = [cut or 0.0 for cut in cuts if gains[cut] == max(gains.values())]
        best.append(min(equal, key=abs))
    middle, spread = statistics.median(best), statistics.pvariance(best)
    cut = max(0.0, 1 - 2 * spread / middle**2) * middle
    sizes = [Counter(scores.groups[scores.y == code].tolist()).values() for code in (0, 1)]
    n = min(sum(counts) ** 2 / sum(count**2 for count in counts) for counts in sizes)
    neutral = float(log_odds(prior))
    distance = (cut - fitted.intercept) / fitted.slope - neutral
    least = n / (n + 20)
    for step in range(9):
        found = float(sigmoid(neutral + (least + (1 - least) * step / 8) * distance))
        if errors_lost(scores, float(sigmoid(neutral + distance)), found) <= 3:
            return found
    raise AssertionError


def errors_lost(scores: Scores, before: float, after: float) -> float:
    counts, lost = Counter(scores.y.tolist()), []
    for row, y in enumerate(scores.y.tolist()):
        views = scores.proba[:, row].tolist()
        right = [[float((p >= cut) == (y == 1)) for p in views] for cut in (before, after)]
        lost.append((statistics.mean(right[0]) - statistics.mean(right[1])) * len(scores) / 2 / counts[y])
    mean, groups = statistics.mean(lost), scores.groups.tolist()
    sums = [sum(x - mean for x, own in zip(lost, groups, strict=True) if own == group) for group in set(groups)]
    error = sum(x**2 for x in sums) ** 0.5 / len(lost)
    return mean / error if error else 0.0


@pytest.mark.parametrize(("n", "group_size", "n_views"), [(14, 1, 1), (12, 3, 2)])
def test_the_threshold_is_that_of_a_slow_reference(n: int, group_size: int, n_views: int) -> None:
    for seed in range(2):
        scores = draw(n, seed=seed, group_size=group_size, n_views=n_views)
        # A curved scale, so that the median is not always moved all the way.
        curved = Scores(scores.y, np.where(scores.y == 1, scores.proba, scores.proba / 50), scores.groups)
        for rows in (scores, curved):
            assert choose_balanced(rows, prior=0.3) == pytest.approx(reference(rows, 0.3), rel=1e-6)


@pytest.mark.parametrize("prior", [0.1, 0.9])
def test_scores_of_another_prior_have_the_threshold_of_that_prior(prior: float) -> None:
    scores = draw(120, seed=3)
    offset = float(log_odds(prior) - log_odds(0.5))
    moved = Scores(scores.y, sigmoid(log_odds(scores.proba) + offset).astype(np.float32), scores.groups)
    expected = sigmoid(float(log_odds(choose_balanced(scores, prior=0.5))) + offset)
    assert choose_balanced(moved, prior=prior) == pytest.approx(float(expected), rel=1e-3)


def test_what_is_apart_is_told_apart() -> None:
    y = np.array([0, 1] * 20)
    for low, high in ((0.0, 1.0), (0.1, 0.2), (0.98, 0.99)):
        proba = np.where(y == 1, high, low).astype(np.float32)[None]
        assert proba.min() < choose_balanced(Scores(y, proba, np.arange(40)), prior=0.5) <= proba.max()


def test_where_there_is_nothing_to_choose_by_the_threshold_is_neutral() -> None:
    assert neutral_threshold(None) == 0.5 and neutral_threshold(0.8) == pytest.approx(0.8)
    useless = Scores(np.array([0, 1] * 20), np.full((1, 40), 0.6, np.float32), np.arange(40))
    assert 0 < choose_balanced(useless, prior=0.8) < 1
    twisted = Scores(np.array([0, 1] * 20), np.array([[0.9, 0.1] * 20], np.float32), np.arange(40))
    assert choose_balanced(twisted, prior=0.8) == pytest.approx(0.8)


def test_it_is_steadier_than_the_best_cut() -> None:
    """Half of its spread over draws of calibrating rows, with no lower balanced accuracy on what it will meet."""
    population = draw(20_000, seed=99)
    found: dict[str, list[float]] = {"balanced": [], "best": []}
    for seed in range(25):
        scores = draw(160, seed=seed)
        found["balanced"].append(choose_balanced(scores, prior=0.5))
        p = np.sort(scores.proba[0])
        cuts = (p[1:] + p[:-1]) / 2
        found["best"].append(float(max(cuts, key=lambda cut: accuracy(scores, cut))))
    assert np.std(found["balanced"]) <= 0.5 * np.std(found["best"])
    means = {rule: np.mean([accuracy(population, cut) for cut in cuts]) for rule, cuts in found.items()}
    assert means["balanced"] >= means["best"]


def accuracy(scores: Scores, cut: float) -> float:
    is_ai = scores.proba[0] >= cut
    return float(is_ai[scores.y == 1].mean() + (~is_ai[scores.y == 0]).mean()) / 2
