"""Laws of row weights: what is rare counts as much as what is frequent, and nobody weighs anything by default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from heads.data.tasks import Targets, build_targets
from heads.errors import HeadsError
from heads.head.balance import fitted_share, row_weights
from tests.heads.rows import TASKS, assert_equal, make_head, make_rows

TRAIN, SELECT, TEST = make_rows(300, seed=1), make_rows(150, seed=2), make_rows(60, seed=3)
KINDS = ("linear", "gbdt", "mlp", "mlp-joint", "mlp-paper")


def with_origins(rows: Any) -> tuple[np.ndarray, Targets]:
    X, targets = rows
    origin = np.array(["", "camera", "phone"])[np.arange(len(X)) % 3 * (np.arange(len(X)) % 7 > 0)]
    return X, replace(targets, origin=origin)


def test_classes_weigh_the_same_and_within_them_origins() -> None:
    a = np.array([0] * 6 + [1] * 3 + [-1])
    origin = np.array(["x"] * 5 + ["y"] + ["x", "z", ""] + ["x"])
    targets = replace(build_targets(TASKS, {"a": a, "b": np.where(a == 1, 0, -1)}), origin=origin)
    assert row_weights(targets, TASKS, "none") is None
    by_class, by_origin = (row_weights(targets, TASKS, balance) for balance in ("class", "origin"))
    assert by_class is not None and by_origin is not None
    np.testing.assert_allclose(by_class["a"], [0.75] * 6 + [1.5] * 3 + [1])
    np.testing.assert_allclose(by_class["b"], 1)  # one class of B occurs: nothing to even out
    np.testing.assert_allclose(by_origin["a"], [0.45] * 5 + [2.25] + [1.5] * 3 + [1])
    for weights in (by_class, by_origin):
        assert all(own[targets.applies[name]].mean() == pytest.approx(1) for name, own in weights.items())


def test_rows_without_origins_cannot_weigh_by_them() -> None:
    with pytest.raises(HeadsError, match="balance is 'origin', and no row says where it is from"):
        row_weights(TRAIN[1], TASKS, "origin")
    with pytest.raises(HeadsError, match="no row says where it is from"):
        make_head("linear", balance="origin").fit(*TRAIN, select=SELECT)


@pytest.mark.parametrize("kind", ["linear", "gbdt", "mlp"])
def test_other_names_are_refused(kind: str) -> None:
    with pytest.raises(HeadsError, match="balance is 'rows', expected one of none, class, origin"):
        make_head(kind, balance="rows")


def test_moments_do_not_weigh() -> None:
    with pytest.raises(HeadsError, match="balance is 'class', solver 'lda' has 'none' alone: take 'logistic'"):
        make_head("linear", balance="class", solver="lda")


def test_weights_are_the_class_weights_of_scikit_learn() -> None:
    head = make_head("linear", strengths=(0.1,), balance="class").fit(*TRAIN, select=SELECT)
    scaler = StandardScaler().fit(TRAIN[0].astype(np.float64))
    for name in ("a", "b"):
        rows = TRAIN[1].applies[name]
        model = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000, class_weight="balanced")
        model.fit(scaler.transform(TRAIN[0].astype(np.float64))[rows], TRAIN[1].y[name][rows])
        expected = model.predict_proba(scaler.transform(TEST[0].astype(np.float64)))
        found = head.predict_proba(TEST[0]).proba[name]
        np.testing.assert_allclose(found, expected[:, 1] if name == "a" else expected, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rare_class_is_found_with_weights(kind: str) -> None:
    # Real rows are a quarter: of few that overlap with the others, most are called AI unless they weigh as much.
    train, select, test = (make_rows(n, seed=seed, signal=1.2) for n, seed in ((400, 1), (200, 2), (400, 3)))
    recall = {}
    for balance in ("none", "class"):
        proba = make_head(kind, balance=balance).fit(*train, select=select).predict_proba(test[0]).proba["a"]
        recall[balance] = float((proba[test[1].y["a"] == 0] < 0.5).mean())
    assert recall["class"] > recall["none"] + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_where_origins_come_from_changes_nothing_unless_they_weigh(kind: str) -> None:
    plain = make_head(kind).fit(*TRAIN, select=SELECT).predict_proba(TEST[0])
    train, select = with_origins(TRAIN), with_origins(SELECT)
    assert_equal(plain, make_head(kind, balance="none").fit(*train, select=select).predict_proba(TEST[0]))
    weighed = make_head(kind, balance="origin").fit(*train, select=select).predict_proba(TEST[0])
    assert not np.array_equal(plain.proba["a"], weighed.proba["a"])


def test_scores_of_weighed_rows_stand_for_as_many_ai_as_real_ones() -> None:
    assert [fitted_share(0.9, {"balance": name}) for name in ("none", "class", "origin")] == [0.9, 0.5, 0.5]
    assert fitted_share(0.9, {}) == 0.9
