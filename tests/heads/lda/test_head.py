"""Laws of linear discriminants: select rows choose, views need no labels, and the folder is not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from heads.data.row_source import ArrayRows
from heads.data.tasks import build_targets
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.lda.config import LABELS, LdaConfig
from heads.lda.head import LdaHead
from tests.heads.rows import TASKS, assert_equal, make_head, make_rows

TRAIN, SELECT, TEST = make_rows(300, seed=1, signal=2), make_rows(150, seed=2, signal=2), make_rows(200, seed=3)
X, TARGETS = np.concatenate([TRAIN[0], SELECT[0]]), TRAIN[1].join(SELECT[1])
FIT, CHOOSE = np.arange(300), np.arange(300, 450)


def shifted(values: np.ndarray, seed: int) -> np.ndarray:
    """Move rows at random along the first three columns, in which the classes differ."""
    moved = np.random.default_rng(seed).normal(size=(len(values), 3)) * 4 * X[:, :3].std(axis=0)
    return np.hstack([values[:, :3] + moved, values[:, 3:]]).astype(np.float32)


def test_it_is_scikit_learns_with_a_temperature() -> None:
    head = make_head("lda", shrinkages=(0.1,)).fit(*TRAIN, select=SELECT)
    scaler = StandardScaler().fit(TRAIN[0].astype(np.float64))
    for name in ("a", "b"):
        rows = TRAIN[1].applies[name]
        Z, y = scaler.transform(TRAIN[0].astype(np.float64))[rows], TRAIN[1].y[name][rows]
        model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1 / 1.1).fit(Z, y)
        scores = np.log(model.predict_proba(scaler.transform(TEST[0].astype(np.float64))))
        (record,) = (record for record in head.history_ if record["task"] == name)
        expected = softmax(record["factor"] * scores, axis=1)
        found = head.predict_proba(TEST[0]).proba[name]
        np.testing.assert_allclose(found, expected[:, 1] if name == "a" else expected, atol=1e-4)


def test_each_task_takes_the_strengths_that_its_select_rows_prefer() -> None:
    source = ArrayRows(np.stack([X, shifted(X, 5)]))
    head = make_head("lda", labels=LABELS).fit_rows(source, TARGETS, FIT, CHOOSE)
    assert {record["labels"] for record in head.history_} == set(LABELS)
    for task in TASKS:
        records = [record for record in head.history_ if record["task"] == task.name]
        best = min(records, key=lambda record: record["select_loss"])
        chosen = {name: best[name] for name in ("labels", "gamma", "shrinkage")}
        assert vars(head.strengths_[task.name]) == chosen  # type: ignore[attr-defined]
        assert len(records) == len({tuple(record.values())[:4] for record in records}) < 70


def test_one_view_leaves_nothing_to_weigh_and_b_takes_its_best_macro_f1() -> None:
    head = make_head("lda").fit(*TRAIN, select=SELECT)
    assert {(record["gamma"], record["labels"]) for record in head.history_} == {(0.0, "clean")}
    records = [record for record in head.history_ if record["task"] == "b"]
    assert len(records) == len(LdaConfig().shrinkages)
    best = max(records, key=lambda record: (record["score"], -record["select_loss"]))
    assert head.strengths_["b"].shrinkage == best["shrinkage"]  # type: ignore[attr-defined]


def test_views_without_labels_make_a_head_that_holds_under_them() -> None:
    views = np.stack([X, shifted(X, 5)])
    plain = make_head("lda", shrinkages=(0.1,)).fit_rows(ArrayRows(X), TARGETS, FIT, CHOOSE)
    head = make_head("lda", invariant_to=("moved",), gammas=(0.0, 10.0, 100.0), shrinkages=(0.1,))
    head.fit_rows(ArrayRows(views, n_further=1), TARGETS, FIT, CHOOSE)
    moved, rows = shifted(TEST[0], 6), TEST[1].applies["a"]
    assert {record["gamma"] for record in head.history_} == {10.0}
    right = [((h.predict_proba(moved).proba["a"] >= 0.5) == TEST[1].y["a"])[rows].mean() for h in (plain, head)]
    assert right[1] > right[0] + 0.05
    # Their scores choose nothing, so that the middle weight is taken, and their labels count for nothing.
    assert {record["labels"] for record in head.history_} == {"clean"}


def test_classes_may_weigh_the_same_whatever_their_shares() -> None:
    rare = np.flatnonzero((TRAIN[1].y["a"] == 1) | (np.arange(300) % 8 == 0))
    rows, targets = TRAIN[0][rare], TRAIN[1].select(rare)
    plain, head = (
        make_head("lda", shrinkages=(0.1,), balance=balance).fit(rows, targets, select=(rows, targets))
        for balance in ("none", "class")
    )
    real = TEST[1].y["a"] == 0
    wrong = [(h.predict_proba(TEST[0][real]).proba["a"] >= 0.5).mean() for h in (plain, head)]
    assert wrong[1] < wrong[0]
    scaler = StandardScaler().fit(rows.astype(np.float64))
    Z, y = scaler.transform(rows.astype(np.float64)), targets.y["a"]
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1 / 1.1).fit(Z, y)
    odds = model.decision_function(scaler.transform(TEST[0].astype(np.float64))) - np.log(
        (y == 1).sum() / (y == 0).sum()
    )
    (factor,) = (record["factor"] for record in head.history_ if record["task"] == "a")
    np.testing.assert_allclose(head.predict_proba(TEST[0]).proba["a"], expit(factor * odds), atol=1e-4)
    unknown = build_targets(TASKS, {"a": targets.y["a"], "b": np.full(len(rare), -1)})
    make_head("lda", balance="class").fit(rows, targets, select=(rows, unknown))
    with pytest.raises(HeadsError, match="head lda has 'none' and 'class'"):
        make_head("lda", balance="origin")


def test_strengths_at_an_edge_are_told() -> None:
    head = make_head("lda", shrinkages=(100.0, 1000.0, 1e4)).fit(*TRAIN, select=SELECT)
    at_edges = [name for name, found in head.strengths_.items() if found.shrinkage != 1000.0]  # type: ignore[attr-defined]
    assert at_edges
    notes = head.notes_  # type: ignore[attr-defined]
    assert [note.split(" takes")[0] for note in notes] == [f"task {name!r}" for name in at_edges]


def test_further_views_that_are_named_have_to_be_there() -> None:
    for n_further, names in ((1, ()), (0, ("moved",))):
        source = ArrayRows(np.stack([X, X]), n_further=n_further)
        with pytest.raises(HeadsError, match=rf"invariant_to names {len(names)} views, the rows have {n_further}"):
            make_head("lda", invariant_to=names).fit_rows(source, TARGETS, FIT, CHOOSE)


def test_a_task_without_select_rows_takes_the_middle_strengths() -> None:
    y = {"a": TARGETS.y["a"], "b": np.where(np.arange(450) < 300, TARGETS.y["b"], -1)}
    source = ArrayRows(np.stack([X, shifted(X, 5)]))
    head = make_head("lda").fit_rows(source, build_targets(TASKS, y), FIT, CHOOSE)
    (record,) = (record for record in head.history_ if record["task"] == "b")
    middle = {"labels": "clean", "gamma": 1.0, "shrinkage": 0.3, "factor": 1.0, "score": None, "select_loss": None}
    assert record == {"task": "b", **middle}


@pytest.mark.parametrize(
    "settings",
    [
        {"gammas": []},
        {"gammas": [-1.0]},
        {"gammas": 1.0},
        {"gammas": [float("nan")]},
        {"gammas": [True]},
        {"shrinkages": [0]},
        {"shrinkages": ["a"]},
        {"shrinkages": [1.0] * 1001},
        {"labels": []},
        {"labels": ["blurred"]},
        {"labels": [["clean"]]},
        {"labels": "clean"},
        {"invariant_to": [3]},
        {"invariant_to": [""]},
        {"invariant_to": "blur:1.5"},
        {"balance": "groups"},
        {"balance": ["class"]},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(HeadsError, match=f"^{next(iter(settings))} (is|are) "):
        LdaConfig.from_mapping(settings)


def test_a_spoilt_folder_is_refused(tmp_path: Path) -> None:
    head = make_head("lda").fit(*TRAIN, select=SELECT)
    head.save(tmp_path)
    loaded = LdaHead.load(Contents(tmp_path))
    assert loaded.strengths_ == head.strengths_  # type: ignore[attr-defined]
    assert_equal(loaded.predict_proba(TEST[0]), head.predict_proba(TEST[0]))
    path = tmp_path / "head.json"
    fields = json.loads(path.read_text())
    strengths = fields["fitted"]["strengths"]
    for a in (None, {}, {**strengths["a"], "gamma": -1}, {**strengths["a"], "labels": ["clean"]}, {"labels": "clean"}):
        path.write_text(json.dumps({**fields, "fitted": {"strengths": {**strengths, "a": a}}}))
        with pytest.raises(HeadsError, match=r"strengths|gamma of"):
            LdaHead.load(Contents(tmp_path))
    for fitted in ({}, {"strengths": None}, {"strengths": {"a": strengths["a"]}}):
        path.write_text(json.dumps({**fields, "fitted": fitted}))
        with pytest.raises(HeadsError, match="expected strengths a task"):
            LdaHead.load(Contents(tmp_path))
