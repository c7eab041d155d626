"""Laws of logistic regression: it is scikit-learn's, its strength is chosen, and its folder is not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from heads.errors import HeadsError
from heads.linear import LinearConfig, LinearHead
from heads.selection import task_score
from heads.tasks import build_targets
from tests.heads.rows import TASKS, assert_equal, make_head, make_rows

TRAIN, SELECT, TEST = make_rows(300, seed=1, signal=2), make_rows(150, seed=2, signal=2), make_rows(60, seed=3)


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_it_is_the_logistic_regression_of_scikit_learn(strength: float) -> None:
    head = make_head("linear", strengths=(strength,)).fit(*TRAIN, select=SELECT)
    X, targets = TRAIN
    scaler = StandardScaler().fit(X.astype(np.float64))
    for name in ("a", "b"):
        rows = targets.applies[name]
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
        model.fit(scaler.transform(X.astype(np.float64))[rows], targets.y[name][rows])
        expected = model.predict_proba(scaler.transform(TEST[0].astype(np.float64)))
        found = head.predict_proba(TEST[0]).proba[name]
        np.testing.assert_allclose(found, expected[:, 1] if name == "a" else expected, atol=5e-3)


def test_each_task_takes_the_strength_that_its_select_rows_prefer() -> None:
    head = LinearHead(TASKS, LinearConfig(strengths=(1.0, 1e-5, 0.01))).fit(*TRAIN, select=SELECT)
    for task in TASKS:
        records = [record for record in head.history_ if record["task"] == task.name]
        assert [record["strength"] for record in records] == [1e-5, 0.01, 1.0]
        best = max(records, key=lambda record: (record["score"], -record["select_loss"]))
        assert head.strengths_[task.name] == best["strength"]
        rows = SELECT[1].applies[task.name]
        proba = head.predict_proba(SELECT[0]).proba[task.name][rows]
        assert task_score(task, SELECT[1].y[task.name][rows], proba) == best["score"]


def test_a_task_without_select_rows_takes_the_middle_strength() -> None:
    y = {"a": SELECT[1].y["a"], "b": np.full(150, -1)}
    head = LinearHead(TASKS, LinearConfig(strengths=(1e-3, 1.0, 0.1))).fit(
        *TRAIN, select=(SELECT[0], build_targets(TASKS, y))
    )
    assert head.strengths_["b"] == 0.1
    assert {record["score"] for record in head.history_ if record["task"] == "b"} == {None}


def test_two_of_three_generators_are_told_apart_and_the_third_gets_0() -> None:
    X, targets = TRAIN
    rows = targets.y["b"] != 0
    head = make_head("linear", strengths=(0.1,)).fit(X[rows], targets.select(rows), select=SELECT)
    b = head.predict_proba(TEST[0]).proba["b"]
    in_b = targets.applies["b"] & rows
    scaler = StandardScaler().fit(X[rows].astype(np.float64))
    model = LogisticRegression(C=0.1, tol=1e-8).fit(scaler.transform(X[in_b].astype(np.float64)), targets.y["b"][in_b])
    assert not b[:, 0].any()
    np.testing.assert_allclose(b[:, 1:], model.predict_proba(scaler.transform(TEST[0])), atol=5e-3)


def test_a_fit_that_does_not_converge_says_so_and_does_not_warn() -> None:
    head = make_head("linear", max_iter=1, strengths=(1.0,)).fit(*TRAIN, select=SELECT)
    assert {record["converged"] for record in head.history_} == {False}
    assert {record["iterations"] for record in head.history_} == {1}
    full = make_head("linear", strengths=(1.0,)).fit(*TRAIN, select=SELECT)
    assert {record["converged"] for record in full.history_} == {True}


def test_the_seed_does_not_matter() -> None:
    one, other = (make_head("linear").fit(*TRAIN, select=SELECT, seed=seed) for seed in (0, 1))
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@pytest.mark.parametrize(
    "settings",
    [
        {"strengths": []},
        {"strengths": [0]},
        {"strengths": ["a"]},
        {"strengths": 1.0},
        {"strengths": [float("inf")]},
        {"max_iter": 0},
        {"max_iter": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(HeadsError, match=f"^{next(iter(settings))} (is|are) "):
        LinearConfig.from_mapping(settings)


def test_a_spoilt_folder_is_refused(tmp_path: Path) -> None:
    make_head("linear").fit(*TRAIN, select=SELECT).save(tmp_path)
    path = tmp_path / "weights.safetensors"
    arrays = load_file(path)
    for name, value, message in (
        ("1.coef", arrays["1.coef"][:2], r"expected float32 \(3, 6\)"),
        ("0.intercept", np.full(1, np.nan, dtype=np.float32), "NaN or infinite"),
        ("1.present", np.zeros(3, dtype=np.bool_), "without a class present"),
        ("1.present", np.ones(3, dtype=np.float32), "expected bool"),
    ):
        save_file({**arrays, name: np.ascontiguousarray(value)}, path)
        with pytest.raises(HeadsError, match=message):
            LinearHead.load(tmp_path)
    save_file(arrays, path)
    description = tmp_path / "head.json"
    fields = json.loads(description.read_text())
    for fitted in ({}, {"strengths": {"a": 1.0}}, {"strengths": {"a": 1.0, "b": "x"}}, {"strengths": None}):
        description.write_text(json.dumps({**fields, "fitted": fitted}))
        with pytest.raises(HeadsError, match="expected a strength a task"):
            LinearHead.load(tmp_path)
