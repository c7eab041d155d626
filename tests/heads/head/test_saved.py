"""Laws of every head, and of the folders that they write."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heads.data.row_source import ArrayRows
from heads.data.tasks import build_targets, default_tasks
from heads.errors import HeadsError
from heads.head.protocol import Head
from heads.head.task_scores import selection_score
from tests.heads.rows import (
    KINDS,
    TASKS,
    assert_equal,
    load_head,
    make_head,
    make_rows,
    make_targets,
    reload,
    replace_y,
)

TRAIN, SELECT, TEST = make_rows(300, seed=1), make_rows(150, seed=2), make_rows(200, seed=3)


@cache
def fitted(kind: str) -> Head:
    return make_head(kind).fit(*TRAIN, select=SELECT)


every_head = pytest.mark.parametrize("kind", KINDS)


@every_head
def test_a_head_learns_and_keeps_the_shapes_of_a_prediction(kind: str) -> None:
    head = fitted(kind)
    prediction = head.predict_proba(TEST[0])
    a, b = prediction.proba["a"], prediction.proba["b"]
    assert a.dtype == b.dtype == np.float32
    assert a.shape == (200,) and b.shape == (200, 3)
    assert ((a >= 0) & (a <= 1)).all()
    np.testing.assert_allclose(b.sum(axis=1), 1, atol=1e-5)
    assert selection_score(prediction, TEST[1], TASKS) > 0.8
    json.dumps(list(head.history_), allow_nan=False)


@every_head
def test_a_saved_head_predicts_the_same_bit_for_bit(kind: str, tmp_path: Path) -> None:
    head = fitted(kind)
    loaded = reload(head, tmp_path)
    assert_equal(head.predict_proba(TEST[0]), loaded.predict_proba(TEST[0]))
    assert loaded.tasks == head.tasks
    assert list(loaded.history_) == list(head.history_)
    again = reload(loaded, tmp_path / "again")
    assert_equal(head.predict_proba(TEST[0]), again.predict_proba(TEST[0]))
    for path in tmp_path.iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@every_head
def test_a_fit_repeats_bit_for_bit(kind: str) -> None:
    one, other = fitted(kind), make_head(kind).fit(*TRAIN, select=SELECT)
    assert list(one.history_) == list(other.history_)
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@every_head
def test_rows_of_a_source_are_fitted_as_the_matrices_are(kind: str) -> None:
    order = np.random.default_rng(5).permutation(450)
    X, targets = np.concatenate([TRAIN[0], SELECT[0]]), TRAIN[1].join(SELECT[1])
    place, source = np.argsort(order), ArrayRows(X[order])
    one, other = fitted(kind), make_head(kind)
    other.fit_rows(source, targets.select(order), place[:300], place[300:])
    assert list(one.history_) == list(other.history_)
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@every_head
def test_a_fit_leaves_the_global_random_states_alone(kind: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make_head(kind).fit(*TRAIN, select=SELECT)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@every_head
def test_targets_where_a_task_does_not_apply_change_nothing(kind: str) -> None:
    rng = np.random.default_rng(4)
    mixed = []
    for X, targets in (TRAIN, SELECT):
        outside = ~targets.applies["b"]
        b = targets.y["b"].copy()
        b[outside] = rng.integers(-99, 99, outside.sum())
        mixed.append((X, replace_y(targets, b=b)))
    one = fitted(kind)
    other = make_head(kind).fit(*mixed[0], select=mixed[1])
    assert list(one.history_) == list(other.history_)
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@every_head
def test_rows_without_any_label_change_nothing(kind: str) -> None:
    X, targets = TRAIN
    far = np.full((40, X.shape[1]), 1e6, dtype=np.float32)
    unknown = np.full(40, -1)
    joined = {name: np.concatenate([targets.y[name], unknown]) for name in ("a", "b")}
    one = fitted(kind)
    other = make_head(kind).fit(np.concatenate([X, far]), build_targets(TASKS, joined), select=SELECT)
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


@every_head
def test_a_head_of_task_a_alone_works(kind: str, tmp_path: Path) -> None:
    tasks = default_tasks(["only"])
    train, select = ((X, build_targets(tasks, {"a": targets.y["a"]})) for X, targets in (TRAIN, SELECT))
    head = make_head(kind, tasks).fit(*train, select=select)
    prediction = head.predict_proba(TEST[0])
    assert set(prediction.proba) == {"a"}
    assert selection_score(prediction, TEST[1], tasks) > 0.8
    assert_equal(prediction, reload(head, tmp_path).predict_proba(TEST[0]))


@every_head
def test_a_class_without_training_rows_is_survived(kind: str, tmp_path: Path) -> None:
    X, targets = TRAIN
    rows = targets.y["b"] != 1
    head = make_head(kind).fit(X[rows], targets.select(rows), select=SELECT)
    proba = head.predict_proba(TEST[0]).proba["b"]
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    if kind in ("linear", "lda", "gbdt"):
        assert (proba[:, 1] == 0).all()
    assert_equal(head.predict_proba(TEST[0]), reload(head, tmp_path).predict_proba(TEST[0]))


@every_head
def test_one_generator_alone_in_training_is_certain_or_survived(kind: str, tmp_path: Path) -> None:
    X, targets = TRAIN
    rows = np.isin(targets.y["b"], [-1, 2])
    head = make_head(kind).fit(X[rows], targets.select(rows), select=SELECT)
    proba = head.predict_proba(TEST[0]).proba["b"]
    assert (proba.argmax(axis=1) == 2).mean() > 0.9
    if kind in ("linear", "lda", "gbdt"):
        assert (proba[:, 2] == 1).all()
    assert_equal(head.predict_proba(TEST[0]), reload(head, tmp_path).predict_proba(TEST[0]))


@every_head
def test_select_rows_that_know_one_task_are_enough(kind: str) -> None:
    X, targets = SELECT
    y = {"a": targets.y["a"], "b": np.full(len(X), -1)}
    head = make_head(kind).fit(*TRAIN, select=(X, build_targets(TASKS, y)))
    assert selection_score(head.predict_proba(TEST[0]), TEST[1], TASKS) > 0.7


@every_head
def test_no_rows_are_predicted_as_no_rows(kind: str) -> None:
    head = fitted(kind)
    empty = head.predict_proba(TEST[0][:0]).proba
    assert empty["a"].shape == (0,) and empty["b"].shape == (0, 3)


@every_head
def test_progress_sees_each_record_of_the_history(kind: str) -> None:
    seen: list[Any] = []
    head = make_head(kind).fit(*TRAIN, select=SELECT, progress=seen.append)
    assert seen == list(head.history_) and seen


@every_head
def test_nan_and_infinity_are_refused_by_count_and_row(kind: str) -> None:
    bad = TRAIN[0].copy()
    bad[7, 2], bad[9, 0], bad[9, 1] = np.nan, np.inf, -np.inf
    with pytest.raises(HeadsError, match=r"3 values .* first in row 7"):
        make_head(kind).fit(bad, TRAIN[1], select=SELECT)
    with pytest.raises(HeadsError, match=r"select rows has 3 values"):
        make_head(kind).fit(*TRAIN, select=(bad, TRAIN[1]))
    with pytest.raises(HeadsError, match=r"3 values"):
        fitted(kind).predict_proba(bad)


@every_head
def test_rows_that_cannot_train_are_refused(kind: str) -> None:
    X, targets = TRAIN
    unknown = np.full(len(X), -1)
    for y, message in (
        ({"a": unknown, "b": unknown}, "none of the 300 training rows has a label of task 'a'"),
        ({"a": targets.y["a"], "b": unknown}, "none of the 300 training rows has a label of task 'b'"),
        ({"a": unknown * 0 + 1, "b": unknown * 0}, "all 300 labelled training rows of task 'a' are 'ai'"),
        ({"a": unknown * 0, "b": unknown}, "of task 'a' are 'real'"),
    ):
        with pytest.raises(HeadsError, match=message):
            make_head(kind).fit(X, build_targets(TASKS, y), select=SELECT)
    none = build_targets(TASKS, {"a": np.full(150, -1), "b": np.full(150, -1)})
    with pytest.raises(HeadsError, match="none of the 150 select rows has a label"):
        make_head(kind).fit(X, targets, select=(SELECT[0], none))
    with pytest.raises(HeadsError, match="training X has 300 rows, its targets have 200"):
        make_head(kind).fit(X, TEST[1], select=SELECT)


@every_head
def test_other_columns_and_types_are_refused(kind: str) -> None:
    head = fitted(kind)
    with pytest.raises(HeadsError, match="X has 5 columns, head was fitted on 6"):
        head.predict_proba(TEST[0][:, :5])
    with pytest.raises(HeadsError, match="float64, expected float32"):
        head.predict_proba(TEST[0].astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(HeadsError, match="select rows has 5 columns"):
        make_head(kind).fit(*TRAIN, select=(SELECT[0][:, :5], SELECT[1]))


@every_head
def test_unknown_settings_are_refused_by_name(kind: str) -> None:
    config = type(make_head(kind).config)  # type: ignore[attr-defined]
    with pytest.raises(HeadsError, match="unknown setting 'depth'"):
        config.from_mapping({"depth": 3})


SPOILT: dict[str, Any] = {
    "format": 2,
    "kind": "svm",
    "tasks": [],
    "n_features": 7,
    "config": {"depth": 3},
    "history": {},
    "fitted": {},
}


@every_head
@pytest.mark.parametrize("key", SPOILT)
def test_a_spoilt_description_is_refused(kind: str, key: str, tmp_path: Path) -> None:
    head = fitted(kind)
    head.save(tmp_path)
    path = tmp_path / "head.json"
    fields = json.loads(path.read_text())
    for value in (SPOILT[key], None, "x", [[[]]], -1, True):
        path.write_text(json.dumps({**fields, key: value}))
        with pytest.raises(HeadsError):
            load_head(head.kind, tmp_path)
    path.write_text(json.dumps({name: value for name, value in fields.items() if name != key}))
    with pytest.raises(HeadsError, match="exactly the keys"):
        load_head(head.kind, tmp_path)


@every_head
def test_spoilt_tasks_are_refused(kind: str, tmp_path: Path) -> None:
    head = fitted(kind)
    head.save(tmp_path)
    path = tmp_path / "head.json"
    fields = json.loads(path.read_text())
    a, b = fields["tasks"]
    for tasks in (
        [b, a],
        [a, a],
        [a, {**b, "classes": ["x", "y"]}],
        [a, {**b, "classes": ["x", "x", "z"]}],
        [a, {**b, "classes": [1, 2, 3]}],
        [a, {**b, "classes": "xyz"}],
        [a, {**b, "kind": "ordinal"}],
        [a, {**b, "parent_class": None}],
        [a, {**b, "extra": 1}],
        [a],
    ):
        path.write_text(json.dumps({**fields, "tasks": tasks}))
        with pytest.raises(HeadsError):
            load_head(head.kind, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"format": NaN}', "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_not_json_is_refused(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "head.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HeadsError, match=r"head\.json"):
        load_head("mlp", tmp_path)


def test_what_is_no_regular_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match="not a file"):
        load_head("mlp", tmp_path)
    os.mkfifo(tmp_path / "head.json")
    with pytest.raises(HeadsError, match="not a file"):
        load_head("mlp", tmp_path)


@every_head
def test_extreme_values_are_refused_or_predicted_finitely(kind: str) -> None:
    head = fitted(kind)
    X = TEST[0].copy()
    X[3] = np.finfo(np.float32).max
    X[4] = np.finfo(np.float32).min
    try:
        prediction = head.predict_proba(X)
    except HeadsError as error:
        assert "row" in str(error)
    else:
        assert all(np.isfinite(proba).all() for proba in prediction.proba.values())


def test_targets_of_joint_classes_apply_where_they_should() -> None:
    targets = make_targets(np.array([0, 1, 3]))
    assert targets.applies["b"].tolist() == [False, True, True]
