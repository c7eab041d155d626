"""Laws of rankings: they are scikit-learn's, and a weight of two is a row that is there twice."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn import metrics as reference

from heads.statistics.ranking import RankedScores, auc, average_precision, partial_auc, tpr_at_fpr

RATES = (0.01, 0.05, 0.3, 1.0)


def draw_rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both classes; in most draws many have the same score."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 200))
    y = rng.permutation(np.arange(n) % 2)
    return y, np.round(rng.random(n) * 0.7 + y * 0.3 * rng.random(n), int(rng.integers(1, 6)))


def best_rate(y: np.ndarray, p: np.ndarray, fpr: float) -> float:
    """The highest true positive rate of a threshold within a false positive rate, threshold by threshold."""
    rates = [0.0]
    for threshold in set(p.tolist()):
        false = sum(p[y == 0] >= threshold) / sum(y == 0)
        rates += [sum(p[y == 1] >= threshold) / sum(y == 1)] if false <= fpr + 1e-12 else []
    return float(max(rates))


@pytest.mark.parametrize("seed", range(25))
def test_figures_are_those_of_scikit_learn_whatever_scores_are_tied(seed: int) -> None:
    y, p = draw_rows(seed)
    assert auc(y, p) == pytest.approx(reference.roc_auc_score(y, p), abs=1e-12)
    assert average_precision(y, p) == pytest.approx(reference.average_precision_score(y, p), abs=1e-12)
    for fpr in RATES:
        max_fpr = None if fpr == 1 else fpr
        assert partial_auc(y, p, fpr) == pytest.approx(reference.roc_auc_score(y, p, max_fpr=max_fpr), abs=1e-12)
        assert tpr_at_fpr(y, p, fpr) == pytest.approx(best_rate(y, p, fpr), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_a_weight_is_how_often_the_rows_of_a_group_are_there(seed: int) -> None:
    y, p = draw_rows(seed)
    rng = np.random.default_rng(seed + 100)
    groups = rng.integers(0, 5, len(y))
    weights = rng.integers(0, 3, (6, 5)).astype(float)
    found = RankedScores.sort(y, p, groups).measure(weights, RATES)
    for k, weighting in enumerate(weights):
        rows = np.repeat(np.arange(len(y)), weighting[groups].astype(int))
        expected = {"auc": auc(y[rows], p[rows]), "average_precision": average_precision(y[rows], p[rows])}
        assert {name: found[name][k] for name in expected} == pytest.approx(expected, nan_ok=True)
        for name, figure in (("tpr_at_fpr", tpr_at_fpr), ("partial_auc", partial_auc)):
            each = [figure(y[rows], p[rows], fpr) for fpr in RATES]
            assert found[name][k] == pytest.approx(each, nan_ok=True)


@pytest.mark.parametrize("p", [[0.5, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5], [0.1, 0.2, 0.2, 0.2]])
def test_a_curve_that_is_one_straight_line_is_cut_where_the_rate_is(p: list[float]) -> None:
    y = np.array([1, 0, 1, 0])
    expected = reference.roc_auc_score(y, p, max_fpr=0.3)
    assert partial_auc(y, np.array(p), 0.3) == pytest.approx(expected, abs=1e-12)


def test_figures_are_of_shares_of_weight_however_small() -> None:
    y, p = draw_rows(5)
    groups = np.arange(len(y)) % 5
    ranked = RankedScores.sort(y, p, groups)
    weights = np.random.default_rng(5).integers(0, 3, (6, 5)).astype(float)
    whole, small = ranked.measure(weights, RATES), ranked.measure(weights / 1024, RATES)
    for name, values in whole.items():
        assert small[name] == pytest.approx(values, nan_ok=True), name


def test_ranks_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RankedScores.sort(np.array([0, 1]), np.array([0.1, 0.2])).ends = np.zeros(1, np.int64)  # type: ignore[misc]


def test_pairs_are_counted_one_by_one() -> None:
    y, p = draw_rows(3)
    pairs = [(a > b) + (a == b) / 2 for a in p[y == 1] for b in p[y == 0]]
    assert auc(y, p) == pytest.approx(sum(pairs) / len(pairs))


def test_more_weightings_than_a_chunk_holds_are_each_measured() -> None:
    rng = np.random.default_rng(0)
    y, p, groups = rng.integers(0, 2, 60_000), rng.random(60_000), rng.integers(0, 3, 60_000)
    weights = rng.integers(1, 3, (40, 3)).astype(float)
    ranked = RankedScores.sort(y, p, groups)
    whole = ranked.measure(weights)
    assert ranked.measure(weights, (0.01, 0.05))["tpr_at_fpr"].tolist() == whole["tpr_at_fpr"].tolist()
    for name, values in whole.items():
        assert values == pytest.approx(np.concatenate([ranked.measure(weights[k : k + 1])[name] for k in range(40)]))


@pytest.mark.parametrize(("y", "is_known"), [([0, 0], False), ([1, 1], True), ([], False)])
def test_with_one_class_figures_are_unknown_but_the_precision_of_positives(y: list[int], is_known: bool) -> None:
    labels, p = np.array(y, np.int64), np.array([0.2, 0.7])[: len(y)]
    assert np.isnan([auc(labels, p), tpr_at_fpr(labels, p, 0.05), partial_auc(labels, p, 0.05)]).all()
    assert np.isnan(average_precision(labels, p)) != is_known


def test_a_rate_that_is_a_whole_number_of_rows_is_within_itself() -> None:
    """Although 0.29 times 100 is 28.999… in floating point."""
    y = np.repeat([0, 1], 100)
    p = np.concatenate([np.linspace(1, 0, 100), np.full(100, 0.715)])
    assert tpr_at_fpr(y, p, 0.29) == 1 and tpr_at_fpr(y, p, 0.28) == 0
