"""Laws of decisions: figures are those of the rows, and what is unsure is neither right nor another class."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn import metrics as reference

from heads.statistics.decisions import (
    DecisionCounts,
    accuracy,
    balanced_accuracy,
    class_f1,
    false_positive_rate,
    macro_f1,
    mean_known,
    recalls,
    true_positive_rate,
    weighted_f1,
)

ONCE = np.ones((1, 6))


def draw(seed: int, n_classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    return y, np.where(rng.random(n) < 0.6, y, rng.integers(0, n_classes, n)), rng.integers(0, 6, n)


@pytest.mark.parametrize(("seed", "n_classes", "n"), [(0, 2, 60), (1, 5, 60), (2, 9, 12), (3, 8, 5)])
def test_figures_are_those_of_scikit_learn_under_every_weighting(seed: int, n_classes: int, n: int) -> None:
    y, said, groups = draw(seed, n_classes, n)
    counts = DecisionCounts.count(y, said, groups, n_classes=n_classes)
    weights = np.random.default_rng(seed).integers(0, 3, (4, 6)).astype(float)
    confusion = counts.confusion(weights)
    for k, weighting in enumerate(weights):
        rows = np.repeat(np.arange(n), weighting[groups].astype(int))
        ours, theirs = y[rows], said[rows]
        labels = list(range(n_classes))
        assert (confusion[k] == reference.confusion_matrix(ours, theirs, labels=labels)).all()
        assert macro_f1(confusion)[k] == pytest.approx(reference.f1_score(ours, theirs, average="macro"))
        f1 = reference.f1_score(ours, theirs, labels=labels, average=None, zero_division=np.nan)
        assert class_f1(confusion)[k] == pytest.approx(f1, nan_ok=True)
        assert weighted_f1(confusion)[k] == pytest.approx(reference.f1_score(ours, theirs, average="weighted"))
        assert accuracy(confusion)[k] == pytest.approx(np.mean(ours == theirs))
        present = np.unique(ours)
        per_class = reference.recall_score(ours, theirs, labels=present, average=None)
        assert recalls(confusion)[k, present] == pytest.approx(per_class)
        assert np.isnan(np.delete(recalls(confusion)[k], present)).all()
        assert balanced_accuracy(confusion)[k] == pytest.approx(np.mean(per_class))
        if n_classes == 2:
            false, true = np.mean(theirs[ours == 0] == 1), np.mean(theirs[ours == 1] == 1)
            assert (false_positive_rate(confusion)[k], true_positive_rate(confusion)[k]) == pytest.approx((false, true))


def test_unsure_is_wrong_but_accuses_nobody() -> None:
    y = np.array([0, 0, 0, 0, 1, 1])
    said = np.array([0, 0, 1, 2, 1, 2])
    confusion = DecisionCounts.count(y, said, np.arange(6), n_classes=2, n_decisions=3).confusion(ONCE)
    assert confusion.tolist() == [[[2, 1, 1], [0, 1, 1]]]
    assert recalls(confusion).tolist() == [[0.5, 0.5]] and balanced_accuracy(confusion) == 0.5
    assert false_positive_rate(confusion) == 0.25 and true_positive_rate(confusion) == 0.5
    assert macro_f1(confusion) == pytest.approx((2 * 2 / (4 + 2) + 2 * 1 / (2 + 2)) / 2)
    assert weighted_f1(confusion) == pytest.approx((4 * 2 * 2 / (4 + 2) + 2 * 2 * 1 / (2 + 2)) / 6)
    assert accuracy(confusion) == 0.5


def test_counts_cannot_be_changed() -> None:
    none = np.array([], np.int64)
    counts = DecisionCounts.count(none, none, none, n_classes=2)
    with pytest.raises(FrozenInstanceError):
        counts.n_classes = 3  # type: ignore[misc]


def test_groups_are_counted_that_have_rows_of_some_classes() -> None:
    y, groups = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 3, 3])
    counts = DecisionCounts.count(y, y[::-1], groups, n_classes=4)
    assert [counts.count_groups(k) for k in range(4)] == [1, 1, 2, 0]
    assert (counts.count_groups(), counts.count_groups(0, 1), counts.count_groups(0, 2)) == (3, 1, 3)


def test_without_rows_everything_is_unknown_and_nothing_warns() -> None:
    none = np.array([], np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion = DecisionCounts.count(none, none, none, n_classes=2).confusion(ONCE)
        for figure in (accuracy, balanced_accuracy, macro_f1, weighted_f1, false_positive_rate, true_positive_rate):
            assert np.isnan(figure(confusion)).all()


def test_a_mean_is_of_the_numbers_that_are_known() -> None:
    found = mean_known(np.array([[1.0, np.nan, 3.0], [np.nan] * 3]))
    assert found[0] == 2 and np.isnan(found[1])
