"""Laws of maps that are fitted: lowest loss, true probabilities at every prior, and none where none helps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heads.verdicts.fitting import Scores, fit_logistic, fit_maps, fit_temperature
from heads.verdicts.maps import LogisticMap, ProbabilityMaps, log_odds


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


def draw_a(
    n: int, *, seed: int, scale: float = 1.0, shift: float = 0.0, share: float = 0.5
) -> tuple[Scores, np.ndarray]:
    """Draw rows of which the evidence is known, and raw scores that are off by a scale and a shift."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(np.int64)
    evidence = rng.normal(np.where(y == 1, 1.125, -1.125), 1.5)  # of two normals with one variance: 2 * mean / variance
    proba = sigmoid(scale * evidence + shift).astype(np.float32)
    return Scores(y, proba[None], np.arange(n)), evidence


def draw_b(n: int, *, seed: int, scale: float = 1.0, n_classes: int = 4) -> Scores:
    """Draw rows of which the posterior is known, and raw shares that are too sure by a scale."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, n_classes))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(n_classes, p=row) for row in shares])
    raw = np.exp(scale * logits) / np.exp(scale * logits).sum(axis=1, keepdims=True)
    return Scores(y, raw[None].astype(np.float32), np.arange(n))


def stack(one: Scores, other: Scores) -> Scores:
    """Take the scores of other rows for another view of the same."""
    return Scores(one.y, np.concatenate([one.proba, other.proba]), one.groups)


def loss_of_a(scores: Scores, slope: float, intercept: float, prior: float) -> float:
    counts = [int((scores.y == code).sum()) for code in (0, 1)]
    total = ((slope - 1) ** 2 + (intercept + slope * math.log(prior / (1 - prior))) ** 2) / 2
    for view in scores.proba.tolist():
        for y, p in zip(scores.y.tolist(), view, strict=True):
            z = slope * math.log(p / (1 - p)) + intercept
            total += len(scores) / (2 * counts[y]) / len(scores.proba) * math.log1p(math.exp(-z if y else z))
    return total


def loss_of_b(scores: Scores, temperature: float) -> float:
    total = (1 / temperature - 1) ** 2 / 2
    for view in scores.proba.tolist():
        for y, row in zip(scores.y.tolist(), view, strict=True):
            total -= math.log(row[y] ** (1 / temperature) / sum(p ** (1 / temperature) for p in row)) / len(
                scores.proba
            )
    return total


def calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    bins = np.array_split(np.argsort(p), 15)
    return sum(abs(float((p[rows] - y[rows]).sum())) for rows in bins) / len(y)


@pytest.mark.parametrize("n", [8, 300])
def test_the_map_of_a_has_the_lowest_loss(n: int) -> None:
    views = [draw_a(n, seed=seed, scale=2.0, shift=0.7, share=0.3)[0] for seed in (1, 2)]
    scores = stack(*views)
    found = fit_logistic(scores, prior=0.4)
    assert found is not None
    least = loss_of_a(scores, found.slope, found.intercept, 0.4)
    for step in (1e-3, -1e-3):
        assert loss_of_a(scores, found.slope + step, found.intercept - step, 0.4) > least
        assert loss_of_a(scores, found.slope, found.intercept + step, 0.4) > least


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0, 60.0])
def test_the_temperature_has_the_lowest_loss(scale: float) -> None:
    scores = stack(draw_b(60, seed=1, scale=scale), draw_b(60, seed=2, scale=scale))
    scores = Scores(scores.y, np.maximum(scores.proba, np.float32(1e-30)), scores.groups)
    found = fit_temperature(scores)
    assert loss_of_b(scores, found) <= min(loss_of_b(scores, found * factor) for factor in (0.99, 1.01))


def test_few_rows_stay_sane() -> None:
    apart = Scores(np.array([0, 1]), np.array([[0.0, 1.0]], dtype=np.float32), np.arange(2))
    assert fit_logistic(apart, prior=0.5) == pytest.approx(LogisticMap(1.0, 0.0), abs=1e-3)
    twisted = Scores(np.array([0, 1] * 30), np.array([[0.9, 0.1] * 30], dtype=np.float32), np.arange(60))
    assert fit_logistic(twisted, prior=0.5) is None
    impossible = Scores(np.array([1, 0]), np.array([[[1, 0], [0.5, 0.5]]], dtype=np.float32), np.arange(2))
    assert fit_temperature(impossible) == pytest.approx(1, abs=0.5)
    for scores in (apart, Scores(apart.y[:0], apart.proba[:, :0], apart.groups[:0])):
        of_b = Scores(scores.y, np.full((1, len(scores), 3), 1 / 3, np.float32), scores.groups)
        assert fit_maps(scores, of_b, prior=0.5) == ProbabilityMaps(0.5)


@pytest.mark.parametrize("prior", [0.05, 0.5, 0.9])
def test_after_calibration_probabilities_are_the_known_posterior_at_any_prior(prior: float) -> None:
    known, _ = draw_a(4000, seed=1, scale=2.5, shift=0.8, share=0.6)
    maps = fit_maps(known, None, prior=0.7)
    assert maps.a is not None
    fresh, evidence = draw_a(20_000, seed=2, scale=2.5, shift=0.8, share=prior)
    p, truth = maps.p_ai(fresh.proba[0], prior=prior), sigmoid(evidence + float(log_odds(prior)))
    assert np.abs(p - truth).mean() < 0.02
    rng = np.random.default_rng(3)
    floor = np.mean([calibration_error(rng.random(len(p)) < p, p) for _ in range(20)])
    assert calibration_error(fresh.y, p) - floor <= 0.01 < calibration_error(fresh.y, fresh.proba[0]) - floor


def test_a_temperature_gives_the_known_posterior() -> None:
    maps = fit_maps(draw_a(100, seed=0)[0], draw_b(3000, seed=1, scale=2.0), prior=0.5)
    assert maps.b == pytest.approx(2.0, rel=0.1)


def test_scores_that_are_right_stay_as_they_are() -> None:
    kept = [fit_maps(draw_a(300, seed=seed)[0], draw_b(300, seed=seed), prior=0.5) for seed in range(8)]
    assert sum(maps.a is not None for maps in kept) <= 3 and sum(maps.b is not None for maps in kept) <= 3


def test_a_map_that_helps_one_view_at_the_cost_of_another_is_not_kept() -> None:
    right, wrong = draw_a(2000, seed=1)[0], draw_a(2000, seed=1, scale=6.0)[0]
    assert fit_maps(stack(wrong, wrong), None, prior=0.5).a is not None
    assert fit_maps(stack(right, wrong), None, prior=0.5).a is None


def test_rows_of_one_group_do_not_judge_a_map() -> None:
    scores = draw_a(400, seed=1, scale=4.0)[0]
    for n_groups, is_kept in ((1, False), (2, True)):
        grouped = Scores(scores.y, scores.proba, np.arange(400) % n_groups)
        assert (fit_maps(grouped, None, prior=0.5).a is not None) == is_kept
    assert fit_maps(scores, None, prior=None).a is None
