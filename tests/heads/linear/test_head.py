"""Laws of logistic regression: it is scikit-learn's, its strength is chosen, and its folder is not trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from heads.data.row_source import ArrayRows
from heads.data.tasks import build_targets
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.task_scores import task_score
from heads.linear.head import LinearConfig, LinearHead
from tests.heads.rows import TASKS, assert_equal, make_head, make_rows, replace_y

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
        best = min(records, key=lambda record: record["select_loss"] if task.name == "a" else -record["score"])
        assert head.strengths_[task.name] == best["strength"]
        rows = SELECT[1].applies[task.name]
        proba = head.predict_proba(SELECT[0]).proba[task.name][rows]
        assert task_score(task, SELECT[1].y[task.name][rows], proba) == best["score"]


def test_weak_strengths_are_tried_as_long_as_they_are_better_than_all_before() -> None:
    head = LinearHead(TASKS, LinearConfig(strengths=(0.1, 1.0, 10.0, 100.0))).fit(*TRAIN, select=SELECT)
    tried = []
    for task in TASKS:
        records = [record for record in head.history_ if record["task"] == task.name]
        merits = [-record["select_loss"] if task.name == "a" else record["score"] for record in records]
        tried.append(len(merits))
        assert len(merits) in (3, 4) and (len(merits) == 4) == (merits[2] > max(merits[:2]))
    assert min(tried) == 3


def test_a_strength_at_an_end_of_those_that_were_tried_is_told() -> None:
    few = make_rows(40, seed=1, signal=2)
    ends = LinearHead(TASKS, LinearConfig(strengths=(1e-6, 1e-5, 1e-4))).fit(*few, select=SELECT)
    assert "takes the largest of its strengths, 0.0001" in ends.notes_[0]
    assert not LinearHead(TASKS, LinearConfig(strengths=(1e-4,))).fit(*few, select=SELECT).notes_


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


@pytest.mark.parametrize("solver", ["ridge", "lda"])
def test_other_solvers_are_those_of_scikit_learn_with_a_temperature(solver: str) -> None:
    head = make_head("linear", solver=solver, strengths=(0.01,)).fit(*TRAIN, select=SELECT)
    X, targets = TRAIN
    scaler = StandardScaler().fit(X.astype(np.float64))
    for name, k in (("a", 2), ("b", 3)):
        rows = targets.applies[name]
        Z, y = scaler.transform(X.astype(np.float64))[rows], targets.y[name][rows]
        if solver == "ridge":
            scores = Ridge(alpha=100).fit(Z, np.eye(k)[y]).predict(scaler.transform(TEST[0].astype(np.float64)))
        else:
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1 / (1 + 0.01 * len(y))).fit(Z, y)
            scores = np.log(model.predict_proba(scaler.transform(TEST[0].astype(np.float64))))
        (record,) = (record for record in head.history_ if record["task"] == name)
        expected = softmax(record["factor"] * scores, axis=1)
        found = head.predict_proba(TEST[0]).proba[name]
        np.testing.assert_allclose(found, expected[:, 1] if name == "a" else expected, atol=1e-4)


@pytest.mark.parametrize("solver", ["logistic", "ridge", "lda"])
def test_a_part_is_fitted_as_by_itself_and_never_sees_other_rows(solver: str) -> None:
    X, targets = TRAIN
    folds = np.arange(300) % 3
    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(3)]
    config = LinearConfig(solver=solver, strengths=(0.01, 1.0))
    heads = LinearHead.fit_parts(X, targets, parts, tasks=TASKS, config=config)
    for head, (rows, chosen) in zip(heads, parts, strict=True):
        select = X[chosen], targets.select(chosen)
        alone = LinearHead(TASKS, config).fit(X[rows], targets.select(rows), select=select)
        assert head.strengths_ == alone.strengths_
        for name, proba in head.predict_proba(TEST[0]).proba.items():
            np.testing.assert_allclose(proba, alone.predict_proba(TEST[0]).proba[name], atol=1e-5)
    spoilt, y = X.copy(), {name: values.copy() for name, values in targets.y.items()}
    held_out = parts[0][1][50:]
    spoilt[held_out] = np.nan
    for values in y.values():
        values[held_out] = 0
    part = parts[0][0], parts[0][1][:50]
    one, other = (
        LinearHead.fit_parts(data, values, [part], tasks=TASKS, config=config)[0]
        for data, values in ((X, targets), (spoilt, replace_y(targets, **y)))
    )
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@pytest.mark.parametrize("solver", ["logistic", "ridge", "lda"])
def test_the_order_of_the_rows_does_not_matter(solver: str) -> None:
    order = np.random.default_rng(0).permutation(300)
    one = make_head("linear", solver=solver).fit(*TRAIN, select=SELECT)
    other = make_head("linear", solver=solver).fit(TRAIN[0][order], TRAIN[1].select(order), select=SELECT)
    for name, proba in one.predict_proba(TEST[0]).proba.items():
        np.testing.assert_allclose(proba, other.predict_proba(TEST[0]).proba[name], atol=2e-3)


@pytest.mark.parametrize("solver", ["logistic", "ridge", "lda"])
def test_every_solver_leaves_out_a_generator_that_training_lacks(solver: str, tmp_path: Path) -> None:
    rows = TRAIN[1].y["b"] != 1
    head = make_head("linear", solver=solver, strengths=(0.1,))
    head.fit(TRAIN[0][rows], TRAIN[1].select(rows), select=SELECT)
    b = head.predict_proba(TEST[0]).proba["b"]
    assert not b[:, 1].any()
    np.testing.assert_allclose(b.sum(axis=1), 1, atol=1e-6)
    head.save(tmp_path)
    assert_equal(head.predict_proba(TEST[0]), LinearHead.load(Contents(tmp_path)).predict_proba(TEST[0]))


@pytest.mark.parametrize("solver", ["ridge", "lda"])
def test_without_select_rows_of_a_task_scores_are_taken_as_they_are(solver: str) -> None:
    select = SELECT[0], build_targets(TASKS, {"a": SELECT[1].y["a"], "b": np.full(150, -1)})
    head = make_head("linear", solver=solver).fit(*TRAIN, select=select)
    assert {record["factor"] for record in head.history_ if record["task"] == "b"} == {1.0}


VIEWS = np.stack(
    [TRAIN[0], TRAIN[0] + np.random.default_rng(4).normal(size=(300, 6)).astype(np.float32) * TRAIN[0].std(0)]
)


@pytest.mark.parametrize("n_further", [0, 1])
def test_the_penalty_on_differences_is_the_one_that_is_told(n_further: int) -> None:
    C, weight, fit, chosen = 0.1, 3.0, np.arange(250), np.arange(250, 300)
    names = ("noise",) * n_further
    head = LinearHead(TASKS, LinearConfig(strengths=(C,), invariances=(weight,), invariant_to=names))
    head.fit_rows(ArrayRows(VIEWS, n_further=n_further), TRAIN[1], fit, chosen)
    taught = VIEWS[: 2 - n_further, fit].reshape(-1, 6).astype(np.float64)
    Z = (VIEWS[:, fit] - taught.mean(axis=0)) / taught.std(axis=0)
    delta = Z[1] - Z[0]
    metric = np.eye(6) + weight * delta.T @ delta / len(delta)
    rows = np.concatenate(list(Z[: 2 - n_further]))
    y = np.tile(TRAIN[1].y["a"][fit], 2 - n_further)
    # At the optimum the gradient of the loss is that of the penalty.
    p = head.predict_proba(taught.astype(np.float32)).proba["a"]
    coef = head._layers.of_task["a"].coef[0]
    np.testing.assert_allclose(rows.T @ (y - p), metric @ coef / C, atol=0.02 * np.abs(rows.T @ (y - 0.5)).max())
    assert {record["invariance"] for record in head.history_} == {weight}


def test_an_invariance_is_chosen_on_select_rows_of_views_and_by_no_others() -> None:
    fit, chosen = np.arange(250), np.arange(250, 300)
    config = LinearConfig(strengths=(0.01, 1.0), invariances=(0.0, 1.0, 100.0))
    head = LinearHead(TASKS, config).fit_rows(ArrayRows(VIEWS), TRAIN[1], fit, chosen)
    for task in TASKS:
        records = [record for record in head.history_ if record["task"] == task.name]
        assert [record["invariance"] for record in records] == [100.0, 100.0, 1.0, 1.0, 0.0, 0.0]
        best = min(records, key=lambda record: record["select_loss"])
        assert head.strengths_[task.name] == best["strength"]
    unseen = LinearHead(TASKS, replace(config, invariant_to=("noise",)))
    unseen.fit_rows(ArrayRows(VIEWS, n_further=1), TRAIN[1], fit, chosen)
    assert {record["invariance"] for record in unseen.history_} == {1.0}
    alone = LinearHead(TASKS, config).fit(*TRAIN, select=SELECT)
    assert {record["invariance"] for record in alone.history_} == {0.0}
    assert_equal(
        alone.predict_proba(TEST[0]),
        LinearHead(TASKS, LinearConfig(strengths=(0.01, 1.0))).fit(*TRAIN, select=SELECT).predict_proba(TEST[0]),
    )
    with pytest.raises(HeadsError, match="invariant_to names 1 views, the rows have 0"):
        unseen.fit(*TRAIN, select=SELECT)


def test_the_seed_does_not_matter() -> None:
    one, other = (make_head("linear").fit(*TRAIN, select=SELECT, seed=seed) for seed in (0, 1))
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@pytest.mark.parametrize(
    "settings",
    [
        {"strengths": []},
        {"solver": "newton"},
        {"solver": ["ridge"]},
        {"strengths": [0]},
        {"strengths": [1e13]},
        {"strengths": ["a"]},
        {"strengths": 1.0},
        {"strengths": [float("inf")]},
        {"max_iter": 0},
        {"max_iter": 1.0},
        {"max_iter": 10**400},
        {"strengths": [10**400]},
        {"strengths": [True]},
        {"invariances": []},
        {"invariances": [-1.0]},
        {"invariances": 3.0},
        {"invariances": [1.0], "solver": "ridge"},
        {"invariant_to": "blur:1.5"},
        {"invariant_to": [3]},
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
            LinearHead.load(Contents(tmp_path))
    save_file(arrays, path)
    description = tmp_path / "head.json"
    fields = json.loads(description.read_text())
    for fitted in (
        {},
        {"strengths": {"a": 1.0}},
        {"strengths": {"a": 1.0, "b": "x"}},
        {"strengths": None},
        {"strengths": {"a": 1.0, "b": 10**299}},
        {"strengths": {"a": 1.0, "b": True}},
    ):
        description.write_text(json.dumps({**fields, "fitted": fitted}))
        with pytest.raises(HeadsError, match="expected a strength a task"):
            LinearHead.load(Contents(tmp_path))
