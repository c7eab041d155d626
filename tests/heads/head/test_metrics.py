"""Laws of the metrics: they are scikit-learn's, undefined ones are None, and the verdict is not the joint argmax."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from heads.data.tasks import Task, build_targets, default_tasks
from heads.errors import HeadsError
from heads.head.metrics import (
    always_ai,
    balanced_accuracy,
    binary_metrics,
    joint_metrics,
    joint_proba,
    joint_targets,
    joint_tasks,
    multiclass_metrics,
    score_prediction,
    verdict,
)
from heads.head.protocol import Prediction
from heads.head.task_scores import paper_score, selection_score, task_score

TASKS = default_tasks(["x", "y", "z"])
labels = st.lists(st.integers(0, 4), min_size=1, max_size=30)


def draw_prediction(n: int, seed: int, *, k: int = 3) -> Prediction:
    rng = np.random.default_rng(seed)
    b = rng.dirichlet(np.ones(k), n).astype(np.float32)
    return Prediction({"a": rng.random(n).astype(np.float32), "b": b})


@pytest.mark.parametrize("seed", range(20))
def test_binary_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 200))
    y, p, t = rng.permutation(np.arange(n) % 2), np.round(rng.random(n), 1), float(rng.random())
    pred = (p >= t).astype(int)
    expected = {
        "accuracy": reference.accuracy_score(y, pred),
        "balanced_accuracy": reference.balanced_accuracy_score(y, pred),
        "f1_binary": reference.f1_score(y, pred, zero_division=0),
        "f1_macro": reference.f1_score(y, pred, average="macro", zero_division=0),
        "f1_weighted": reference.f1_score(y, pred, average="weighted", zero_division=0),
        "auc": reference.roc_auc_score(y, p),
        "average_precision": reference.average_precision_score(y, p),
    }
    assert binary_metrics(y, p, t) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("y", "pred", "expected"),
    [
        ([1, 1, 1], [1, 0, 1], 2 / 3),
        ([0, 0], [0, 1], 1 / 2),
        ([0, 2, 2], [0, 2, 1], 3 / 4),
        ([0, 1, 1, 1], [0, 1, 0, 5], 2 / 3),
    ],
)
def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur(
    y: list[int], pred: list[int], expected: float
) -> None:
    assert balanced_accuracy(np.array(y), np.array(pred)) == pytest.approx(expected)


def test_metrics_of_no_rows_are_none() -> None:
    empty = np.array([], dtype=np.int64)
    assert set(binary_metrics(empty, empty.astype(float), 0.5).values()) == {None}
    assert set(multiclass_metrics(empty, empty, 3).values()) == {None}
    assert always_ai(empty).keys() == always_ai(np.array([0, 1])).keys()


def test_classes_outside_a_task_are_refused() -> None:
    with pytest.raises(HeadsError, match="prediction 3 is out of range: there are 3 classes"):
        multiclass_metrics(np.array([0, 1, 2]), np.array([0, 3, 4]), 3)
    with pytest.raises(HeadsError, match="target -1 is out of range"):
        multiclass_metrics(np.array([0, -1]), np.array([0, 1]), 3)


def test_always_ai_scores_what_the_prior_of_the_data_set_says() -> None:
    found = always_ai(np.array([0] + [1] * 5))
    rounded = {name: round(value, 3) for name, value in found.items() if value is not None}
    assert rounded == {
        "accuracy": 0.833,
        "balanced_accuracy": 0.5,
        "f1_binary": 0.909,
        "f1_macro": 0.455,
        "f1_weighted": 0.758,
        "auc": 0.5,
        "average_precision": 0.833,
    }


def test_a_score_at_the_threshold_is_ai() -> None:
    prediction = Prediction({"a": np.array([0.3, 0.5, 0.7], dtype=np.float32), "b": np.eye(3, dtype=np.float32)})
    assert verdict(prediction, 0.5, TASKS).tolist() == [0, 2, 3]


def test_the_verdict_is_not_the_argmax_of_the_joint() -> None:
    prediction = Prediction(
        {"a": np.array([0.6], dtype=np.float32), "b": np.array([[0.34, 0.33, 0.33]], dtype=np.float32)}
    )
    assert joint_proba(prediction, TASKS).argmax(axis=1).tolist() == [0]
    assert verdict(prediction, 0.5, TASKS).tolist() == [1]


@pytest.mark.parametrize("seed", range(5))
def test_joint_probabilities_sum_to_one_and_agree_with_their_parts(seed: int) -> None:
    prediction = draw_prediction(50, seed)
    joint = joint_proba(prediction, TASKS)
    a, b = prediction.proba["a"].astype(float), prediction.proba["b"].astype(float)
    assert joint.dtype == np.float32
    np.testing.assert_allclose(joint, np.column_stack([1 - a, a[:, None] * b]), atol=1e-6)
    np.testing.assert_allclose(joint.sum(axis=1), 1, atol=1e-5)


def test_task_a_alone_has_two_joint_classes() -> None:
    tasks = default_tasks([])
    prediction = Prediction({"a": np.array([0.2, 0.8], dtype=np.float32)})
    targets = build_targets(tasks, {"a": np.array([1, 1])})
    assert joint_proba(prediction, tasks).shape == (2, 2)
    assert verdict(prediction, 0.5, tasks).tolist() == [0, 1]
    assert joint_targets(targets, tasks)[0].tolist() == [1, 1]
    assert joint_metrics(prediction, targets, threshold=0.5, tasks=tasks)["accuracy"] == 0.5


def test_joint_targets_are_known_where_real_or_the_generator_is_known() -> None:
    targets = build_targets(TASKS, {"a": np.array([0, 1, 1, -1, 0]), "b": np.array([-1, 2, -1, 1, 0])})
    y, known = joint_targets(targets, TASKS)
    assert y.tolist() == [0, 3, -1, -1, 0]
    assert known.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_joint_metrics_are_those_of_the_verdict_on_known_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = build_targets(TASKS, {"a": rng.integers(-1, 2, 80), "b": rng.integers(-1, 3, 80)})
    prediction = draw_prediction(80, seed)
    y, known = joint_targets(targets, TASKS)
    pred = verdict(prediction, 0.4, TASKS)
    found = joint_metrics(prediction, targets, threshold=0.4, tasks=TASKS)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(y[known], pred[known]))
    assert found["f1_macro"] == pytest.approx(reference.f1_score(y[known], pred[known], average="macro"))


def test_tasks_are_scored_over_the_rows_to_which_they_apply_and_the_verdict_over_those_it_is_known_of() -> None:
    rng = np.random.default_rng(0)
    targets = build_targets(TASKS, {"a": rng.integers(-1, 2, 80), "b": rng.integers(-1, 3, 80)})
    prediction = draw_prediction(80, 0)
    a, b = (targets.applies[name] for name in "ab")
    generators = prediction.proba["b"][b].argmax(axis=1)
    assert score_prediction(prediction, targets, tasks=TASKS, threshold=0.3) == {
        "tasks": {
            "a": binary_metrics(targets.y["a"][a], prediction.proba["a"][a], 0.3),
            "b": multiclass_metrics(targets.y["b"][b], generators, 3),
        },
        "joint": joint_metrics(prediction, targets, threshold=0.3, tasks=TASKS),
    }


def test_other_shapes_of_tasks_have_no_joint_classes() -> None:
    a, b = TASKS
    for tasks in (
        (b,),
        (a, a),
        (a, b, b),
        (a, Task("b", "multiclass", ("x", "y"), parent="a", parent_class="real")),
        (a, Task("b", "multiclass", ("x", "y"))),
    ):
        with pytest.raises(HeadsError, match="joint classes need"):
            joint_tasks(tasks)


def test_the_selection_score_is_the_mean_of_balanced_accuracy_and_macro_f1() -> None:
    rng = np.random.default_rng(0)
    targets = build_targets(TASKS, {"a": rng.integers(-1, 2, 90), "b": rng.integers(-1, 3, 90)})
    prediction = draw_prediction(90, 1)
    a, b = targets.applies["a"], targets.applies["b"]
    pred_a, pred_b = prediction.proba["a"] >= 0.5, prediction.proba["b"].argmax(axis=1)
    score_a = reference.balanced_accuracy_score(targets.y["a"][a], pred_a[a])
    score_b = reference.f1_score(targets.y["b"][b], pred_b[b], average="macro")
    assert selection_score(prediction, targets, TASKS) == pytest.approx((score_a + score_b) / 2)
    assert paper_score(prediction, targets, TASKS) == pytest.approx(reference.f1_score(targets.y["a"][a], pred_a[a]))


def test_tasks_without_select_rows_are_left_out_of_the_score() -> None:
    targets = build_targets(TASKS, {"a": np.array([0, 1]), "b": np.array([-1, -1])})
    prediction = draw_prediction(2, 0)
    assert selection_score(prediction, targets, TASKS) == task_score(TASKS[0], targets.y["a"], prediction.proba["a"])
    none = build_targets(TASKS, {"a": np.array([-1, -1]), "b": np.array([-1, -1])})
    with pytest.raises(HeadsError, match="none of the 2 select rows has a label"):
        selection_score(prediction, none, TASKS)
    with pytest.raises(HeadsError, match="binary task 'a'"):
        paper_score(prediction, none, TASKS)


@settings(max_examples=40)
@given(labels, st.data())
def test_multiclass_metrics_are_those_of_scikit_learn_whatever_classes_occur(y: list[int], data: st.DataObject) -> None:
    pred = data.draw(st.lists(st.integers(0, 4), min_size=len(y), max_size=len(y)))
    expected = {
        "accuracy": reference.accuracy_score(y, pred),
        "f1_macro": reference.f1_score(y, pred, average="macro", zero_division=0),
        "f1_weighted": reference.f1_score(y, pred, average="weighted", zero_division=0),
    }
    assert multiclass_metrics(np.array(y), np.array(pred), 5) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=20), st.floats(0, 1))
def test_metrics_are_fractions_or_none_and_never_warn(rows: list[tuple[bool, float]], threshold: float) -> None:
    y, p = np.array([row[0] for row in rows]).astype(int), np.array([row[1] for row in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = binary_metrics(y, p, threshold)
    assert (found["auc"] is None) == (len(set(y.tolist())) == 1)
    assert (found["average_precision"] is None) == (not y.any())
    assert all(value is None or -1e-12 <= value <= 1 + 1e-12 for value in found.values())
