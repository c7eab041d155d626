"""Laws of ensembles: members are what they are alone; folders are read with suspicion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heads.data.columns import Columns
from heads.data.row_source import ArrayRows
from heads.ensemble.head import EnsembleConfig, EnsembleHead
from heads.ensemble.pooling import pool
from heads.errors import HeadsError
from tests.heads.rows import TASKS, assert_equal, load_head, make_head, make_rows, reload

TRAIN, SELECT, TEST = make_rows(200, seed=1), make_rows(100, seed=2), make_rows(50, seed=3)
COLUMNS = Columns.build({"text": {"cls": 2}, "image": {"cls": 4}})
QUICK: dict[str, Any] = {"strengths": (0.01, 0.1)}


def build(members: str = "linear,linear:image", columns: Columns | None = COLUMNS, **settings: Any) -> EnsembleHead:
    values = {"members": members, "linear.strengths": (0.01, 0.1), **settings}
    return EnsembleHead(TASKS, EnsembleConfig.from_mapping(values), columns=columns)


def test_a_member_is_fitted_as_if_it_were_alone_on_its_own_columns() -> None:
    head = build().fit(*TRAIN, select=SELECT)
    (X, y), (S, s), test = TRAIN, SELECT, TEST[0]
    one = make_head("linear", **QUICK).fit(X, y, select=(S, s))
    other = make_head("linear", **QUICK).fit(X[:, 2:].copy(), y, select=(S[:, 2:].copy(), s))
    alone = [one.predict_proba(test), other.predict_proba(test[:, 2:].copy())]
    assert_equal(head.predict_proba(test), pool(alone, TASKS))
    records = [{"member": 0, **r} for r in one.history_] + [{"member": 1, **r} for r in other.history_]
    assert list(head.history_) == records


def test_members_learn_from_all_views_of_a_source_and_keep_their_columns(tmp_path: Path) -> None:
    X, y = np.concatenate([TRAIN[0], SELECT[0]]), TRAIN[1].join(SELECT[1])
    views, rows = np.stack([X, X * np.float32(1.1)]), (np.arange(200), np.arange(200, 300))
    head = build().fit_rows(ArrayRows(views), y, *rows)
    other = make_head("linear", **QUICK).fit_rows(ArrayRows(views[:, :, 2:].copy()), y, *rows)
    assert_equal(head.members[1].predict(TEST[0]), other.predict_proba(TEST[0][:, 2:].copy()))
    assert_equal(head.predict_proba(TEST[0]), reload(head, tmp_path).predict_proba(TEST[0]))


def test_seeds_of_one_kind_differ_and_repeat() -> None:
    config = EnsembleConfig.from_mapping({"members": "mlp*2", "mlp.dim": 4, "mlp.epochs": 1, "mlp.min_steps": 0})
    head, again = (EnsembleHead(TASKS, config).fit(*TRAIN, select=SELECT) for _ in range(2))
    one, other = (member.predict(TEST[0]).proba["a"] for member in head.members)
    assert (one != other).any()
    assert_equal(head.predict_proba(TEST[0]), again.predict_proba(TEST[0]))


def test_what_members_note_names_the_settings_that_are_theirs() -> None:
    values = {"members": "linear,gbdt", "gbdt.min_data_in_leaf": 1000, "gbdt.rounds": 1}
    head = EnsembleHead(TASKS, EnsembleConfig.from_mapping(values)).fit(*TRAIN, select=SELECT)
    notes = [note for note in head.notes_ if note.startswith("member gbdt: ")]
    assert notes and all("--set gbdt.min_data_in_leaf=1 " in note for note in notes)
    assert len(set(head.notes_)) == len(head.notes_)


def test_columns_that_are_not_known_or_not_used_are_told() -> None:
    with pytest.raises(HeadsError, match=r"member linear:image takes some of the columns .* expected linear$"):
        build(columns=None)
    with pytest.raises(HeadsError, match="no member takes the text vectors"):
        build("linear:image,gbdt:image")
    with pytest.raises(HeadsError, match=r"columns are text . image, expected spectral among them"):
        build("linear,gbdt:spectral")


def spoil(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("fitted", "message"),
    [
        ({"kinds": ["linear"], "ranges": [[[0, 6]]]}, "expected kinds and ranges"),
        ({"kinds": ["linear", "ensemble"], "ranges": [[[0, 6]]] * 2}, "expected kinds and ranges"),
        ({"kinds": ["linear", "gbdt"], "ranges": [[[0, 6]], [[2, 6]]]}, "of kind 'linear', expected"),
        ({"kinds": ["linear"] * 2, "ranges": [[[0, 6]], [[1, 6]]]}, "X has 5 columns, head was fitted on 4"),
        ({"kinds": ["linear"] * 2, "ranges": [[[0, 6]], [[2, 4], [3, 5]]]}, "that do not overlap"),
        ({"kinds": ["linear"] * 2, "ranges": [[[0, 6]], [[2, 7]]]}, "pieces of 0 to 6"),
        ({"kinds": ["linear"] * 2, "ranges": [[[2, 6]], [[2, 6]]]}, "has n_features 6, its members take"),
        ({"kinds": ["linear"] * 2, "ranges": [[[0, 6]], []]}, "pieces of 0 to 6"),
    ],
)
def test_members_that_are_not_as_described_are_refused(tmp_path: Path, fitted: Any, message: str) -> None:
    build().fit(*TRAIN, select=SELECT).save(tmp_path)
    spoil(tmp_path, "head.json", fitted=fitted)
    with pytest.raises(HeadsError, match=message):
        load_head("ensemble", tmp_path)


def test_members_of_another_ensemble_are_refused(tmp_path: Path) -> None:
    build().fit(*TRAIN, select=SELECT).save(tmp_path)
    own = json.loads((tmp_path / "member-1.head.json").read_text())
    b = {**own["tasks"][1], "classes": ["x", "y", "w"]}
    spoil(tmp_path, "member-1.head.json", tasks=[own["tasks"][0], b])
    with pytest.raises(HeadsError, match=r"member-1\.head\.json has other tasks or classes than the ensemble"):
        load_head("ensemble", tmp_path)
    spoil(tmp_path, "member-1.head.json", tasks=own["tasks"], history=[])
    with pytest.raises(HeadsError, match="has another history than its members"):
        load_head("ensemble", tmp_path)
    (tmp_path / "member-1.head.json").write_text(" " * (2**24 - 1000))
    with pytest.raises(HeadsError, match="describes its members in"):
        load_head("ensemble", tmp_path)


def test_views_that_teach_nothing_but_how_views_differ_reach_the_members_that_look_at_them() -> None:
    X, y = np.concatenate([TRAIN[0], SELECT[0]]), TRAIN[1].join(SELECT[1])
    views, rows = np.stack([X, X + np.float32(1), X * np.float32(1.2)]), (np.arange(200), np.arange(200, 300))
    values = {"members": "lda:image,linear", "invariant_to": ["far"], "linear.invariances": [0]}
    config = EnsembleConfig.from_mapping(values)
    head = EnsembleHead(TASKS, config, columns=COLUMNS).fit_rows(ArrayRows(views, n_further=1), y, *rows)
    lda = make_head("lda", invariant_to=("far",))
    lda.fit_rows(ArrayRows(views[:, :, 2:].copy(), n_further=1), y, *rows)
    assert_equal(head.members[0].predict(TEST[0]), lda.predict_proba(TEST[0][:, 2:].copy()))
    linear = make_head("linear").fit_rows(ArrayRows(views[:2]), y, *rows)
    assert_equal(head.members[1].predict(TEST[0]), linear.predict_proba(TEST[0]))
