"""Laws of probabilities: scores are those of the rows, bins have equal mass, true probabilities have a floor."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from heads.errors import HeadsError
from heads.statistics.probability import (
    CLIP,
    ProbabilitySums,
    assign_bins,
    calibration_floor,
    prior_weights,
)


def plain_scores(y: list[int], proba: list[list[float]], weights: list[float], bins: list[int]) -> dict[str, float]:
    """Slowly: the definitions, row by row; the Brier score over all classes."""
    total = sum(weights)
    nll = brier = 0.0
    gaps: dict[int, float] = {}
    for truth, p, weight, place in zip(y, proba, weights, bins, strict=True):
        nll -= weight * math.log(max(p[truth], CLIP))
        brier += weight * sum((value - (k == truth)) ** 2 for k, value in enumerate(p))
        top = max(range(len(p)), key=p.__getitem__)
        gaps[place] = gaps.get(place, 0.0) + weight * (p[top] - (top == truth))
    return {"nll": nll / total, "brier": brier / total, "ece": sum(map(abs, gaps.values())) / total}


@pytest.mark.parametrize("seed", range(4))
def test_multiclass_scores_are_those_of_the_rows_under_every_weighting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, proba, groups = rng.integers(0, 4, 90), rng.dirichlet(np.ones(4), 90), rng.integers(0, 6, 90)
    proba[0] = [1, 0, 0, 0]
    y[0] = 1
    weights = rng.integers(1, 4, (3, 6)).astype(float)
    found = ProbabilitySums.of_multiclass(y, proba, groups).measure(weights)
    bins = assign_bins(proba.max(axis=1)).tolist()
    for k in range(3):
        expected = plain_scores(y.tolist(), proba.tolist(), weights[k][groups].tolist(), bins)
        assert {name: values[k] for name, values in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("prior", [None, 0.05, 0.5])
def test_binary_scores_are_those_of_the_rows_with_classes_in_the_stated_shares(prior: float | None) -> None:
    rng = np.random.default_rng(0)
    y, p, groups = rng.integers(0, 2, 200), rng.random(200).astype(np.float32), rng.integers(0, 6, 200)
    p[:2], y[:2] = [0.0, 1.0], [1, 0]
    weights = rng.integers(1, 4, (3, 6)).astype(float)
    found = ProbabilitySums.of_binary(y, p, groups, prior=prior).measure(weights)
    bins = assign_bins(p, None if prior is None else prior_weights(y, prior)).tolist()
    for k in range(3):
        rows = weights[k][groups]
        if prior is not None:
            rows = np.where(y == 1, prior / rows[y == 1].sum(), (1 - prior) / rows[y == 0].sum()) * rows
        gaps = [sum(rows[i] * (float(p[i]) - y[i]) for i in range(200) if bins[i] == place) for place in range(15)]
        both = [[1 - float(value), float(value)] for value in p]
        expected = plain_scores(y.tolist(), both, rows.tolist(), bins)
        expected |= {"brier": expected["brier"] / 2, "ece": sum(map(abs, gaps)) / rows.sum()}
        assert {name: values[k] for name, values in found.items()} == pytest.approx(expected)


def test_a_certain_mistake_costs_as_much_as_one_in_ten_million() -> None:
    once = np.ones((1, 1))
    sums = ProbabilitySums.of_binary(np.array([1]), np.array([0.0]), np.array([0]))
    assert sums.measure(once)["nll"] == pytest.approx(math.log(1e7))
    with pytest.raises(FrozenInstanceError):
        sums.shares = np.zeros(1)  # type: ignore[misc]


def test_a_weighting_without_rows_of_a_class_that_has_a_share_is_unknown() -> None:
    sums = ProbabilitySums.of_binary(np.array([0, 1]), np.array([0.2, 0.9]), np.array([0, 1]), prior=0.3)
    found = sums.measure(np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]))
    assert all(np.isnan(values).tolist() == [True, False] for values in found.values())


def test_classes_are_weighted_to_the_stated_share() -> None:
    weights = prior_weights(np.array([0, 1, 1, 1]), 0.2)
    assert weights == pytest.approx([3.2, 0.8 / 3, 0.8 / 3, 0.8 / 3])
    for y, prior in (([1, 1], 0.2), ([0, 0], 0.2), ([0, 1], 0.0), ([0, 1], 1.0)):
        with pytest.raises(HeadsError, match="share of AI between 0 and 1"):
            prior_weights(np.array(y), prior)


@pytest.mark.parametrize(("n", "n_bins"), [(1, 1), (39, 1), (40, 2), (299, 14), (300, 15), (3000, 15)])
def test_bins_have_equal_mass_and_20_rows_or_more(n: int, n_bins: int) -> None:
    confidence = np.random.default_rng(n).permutation(np.linspace(0, 1, n))
    bins = assign_bins(confidence)
    sizes = np.bincount(bins)
    assert len(sizes) == n_bins and sizes.max() - sizes.min() <= 1
    assert (np.diff(bins[np.argsort(confidence)]) >= 0).all()


def test_rows_of_one_confidence_share_a_bin_and_weights_move_its_bounds() -> None:
    confidence = np.repeat([0.1, 0.2, 0.9], [10, 10, 20])
    assert [np.unique(assign_bins(confidence)[confidence == c]).tolist() for c in (0.1, 0.2, 0.9)] == [[0], [0], [1]]
    tied = np.repeat([0.1, 0.2, 0.9], [4, 24, 12])  # the middle of the second is at 0.4 of all rows
    assert [np.unique(assign_bins(tied)[tied == c]).tolist() for c in (0.1, 0.2, 0.9)] == [[0], [0], [1]]
    rows = np.linspace(0, 1, 40)
    assert assign_bins(rows, np.where(rows < 1, 1.0, 0.0)).max() == 1
    assert assign_bins(rows, np.where(rows < 0.5, 3.0, 1.0)).sum() == 27  # 13 rows of weight 3 make half of the mass


def test_the_floor_is_the_error_that_true_probabilities_show() -> None:
    """Two bins of 20 rows at one half: the mean distance of a binomial from its middle."""
    confidence = np.linspace(0.4999, 0.5001, 40)
    expected = sum(math.comb(20, k) * abs(k - 10) for k in range(21)) / 2**20 / 20
    assert calibration_floor(confidence, n_draws=4000) == pytest.approx(expected, rel=0.02)
    assert calibration_floor(confidence, seed=1) == calibration_floor(confidence, seed=1)
    assert calibration_floor(confidence, seed=1) != calibration_floor(confidence, seed=2)
    assert calibration_floor(confidence, np.full(40, 3.0)) == pytest.approx(calibration_floor(confidence))
    # One row has nearly all the weight: its own distance from its outcome is left.
    alone = calibration_floor(np.full(10, 0.5), np.array([1e6] + [1.0] * 9))
    assert alone == pytest.approx(0.5, abs=1e-3)


def test_the_floor_is_the_mean_of_100_draws_however_many_are_made_at_a_time() -> None:
    confidence = np.sort(np.random.default_rng(0).random(4500))
    bins = assign_bins(confidence)
    gaps = confidence - (np.random.default_rng(0).random((100, 4500)) < confidence)
    by_bin = [abs(gaps[:, bins == place].sum(axis=1)) for place in range(15)]
    assert calibration_floor(confidence) == pytest.approx(np.sum(by_bin, axis=0).mean() / 4500, rel=1e-12)


def test_the_floor_of_certain_probabilities_is_nothing_and_falls_with_rows() -> None:
    assert calibration_floor(np.ones(100)) == 0
    rng = np.random.default_rng(0)
    few, many = (calibration_floor(rng.random(n)) for n in (300, 30_000))
    assert few == pytest.approx(10 * many, rel=0.25)
