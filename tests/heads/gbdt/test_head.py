"""Laws of the boosted trees: early stopping, silence, threads, and a folder that is not trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from heads.data.tasks import build_targets
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.gbdt.head import GbdtConfig, GbdtHead
from heads.gbdt.principal import Principal
from tests.heads.rows import TASKS, assert_equal, make_head, make_rows, reload

TRAIN, SELECT, TEST = make_rows(300, seed=1), make_rows(150, seed=2), make_rows(60, seed=3)


def fit(**settings: Any) -> GbdtHead:
    head = make_head("gbdt", **settings).fit(*TRAIN, select=SELECT)
    assert isinstance(head, GbdtHead)
    return head


def test_it_is_lightgbm_with_the_settings_of_the_config() -> None:
    found = fit(rounds=8, min_data_in_leaf=20).predict_proba(TEST[0])
    shared = {"max_bin": 63, "num_leaves": 7, "deterministic": True, "force_col_wise": True, "verbosity": -1}
    shared |= {"num_threads": 1, "seed": 0, "learning_rate": 0.15}
    binned = lgb.Dataset(TRAIN[0], np.zeros(300), params=shared).construct()
    for name, params in (("a", {"objective": "binary"}), ("b", {"objective": "multiclass", "num_class": 3})):
        rows = TRAIN[1].applies[name]
        data = binned.subset(np.flatnonzero(rows).tolist(), params=shared).construct()
        data.set_label(TRAIN[1].y[name][rows])
        expected = lgb.train({**shared, **params}, data, num_boost_round=8).predict(TEST[0], num_threads=1)
        np.testing.assert_array_equal(found.proba[name], expected.astype(np.float32))


def test_the_rounds_of_the_lowest_select_loss_are_kept() -> None:
    head = fit(rounds=200, patience=5, learning_rate=0.5)
    for task in ("a", "b"):
        losses = [record["select_loss"] for record in head.history_ if record["task"] == task]
        assert head.best_rounds_[task] == int(np.argmin(losses)) + 1
        assert len(losses) == head.best_rounds_[task] + 5 < 200


def test_without_select_rows_of_a_task_all_rounds_are_kept() -> None:
    unknown = build_targets(TASKS, {"a": SELECT[1].y["a"], "b": np.full(150, -1)})
    head = make_head("gbdt", rounds=7).fit(*TRAIN, select=(SELECT[0], unknown))
    assert head.best_rounds_["b"] == 7  # type: ignore[attr-defined]
    assert {record["select_loss"] for record in head.history_ if record["task"] == "b"} == {None}


def test_select_rows_of_a_class_that_training_lacks_do_not_count() -> None:
    X, targets = TRAIN
    rows, kept = targets.y["b"] != 1, SELECT[1].y["b"] != 1
    train = X[rows], targets.select(rows)
    one = make_head("gbdt").fit(*train, select=SELECT)
    b = np.where(kept, SELECT[1].y["b"], -1)
    other = make_head("gbdt").fit(*train, select=(SELECT[0], build_targets(TASKS, {"a": SELECT[1].y["a"], "b": b})))
    assert_equal(one.predict_proba(TEST[0]), other.predict_proba(TEST[0]))


def test_rows_too_few_to_split_give_the_prior_and_that_is_said(tmp_path: Path) -> None:
    few = TRAIN[0][:12], TRAIN[1].select(np.arange(12))
    head = GbdtHead(TASKS, GbdtConfig(rounds=3, min_data_in_leaf=20)).fit(*few, select=SELECT)
    proba = head.predict_proba(TEST[0]).proba
    np.testing.assert_allclose(proba["a"], few[1].y["a"].mean(), atol=1e-6)
    assert {record["n_splits"] for record in head.history_} == {0}
    head.save(tmp_path)
    found = GbdtHead.load(Contents(tmp_path))
    assert_equal(head.predict_proba(TEST[0]), found.predict_proba(TEST[0]))
    assert head.notes_ == found.notes_ and ["'a' splits" in head.notes_[0], "'b' splits" in head.notes_[1]] == [1, 1]


def test_few_rows_get_small_leaves() -> None:
    few = TRAIN[0][:24], TRAIN[1].select(np.arange(24))
    head = GbdtHead(TASKS, GbdtConfig()).fit(*few, select=SELECT)
    assert not head.notes_ and head.history_[-1]["n_splits"] > 0
    assert np.ptp(head.predict_proba(TEST[0]).proba["a"]) > 0.1
    assert [GbdtConfig().leaf_rows_for(n) for n in (10_000, 80, 79, 9, 3)] == [20, 20, 19, 2, 1]
    assert GbdtConfig(min_data_in_leaf=30).leaf_rows_for(16) == 30


def test_constant_columns_are_survived() -> None:
    X = TRAIN[0].copy()
    X[:, 4] = 3
    head = make_head("gbdt").fit(X, TRAIN[1], select=SELECT)
    assert np.isfinite(head.predict_proba(TEST[0]).proba["b"]).all()


def test_other_seeds_give_other_trees_and_threads_do_not() -> None:
    one, other = (make_head("gbdt", feature_fraction=0.5).fit(*TRAIN, select=SELECT, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.predict_proba(TEST[0]).proba["a"], other.predict_proba(TEST[0]).proba["a"])
    threads = fit(num_threads=1), fit(num_threads=4)
    assert_equal(threads[0].predict_proba(TEST[0]), threads[1].predict_proba(TEST[0]))


def test_components_stand_in_for_the_columns(tmp_path: Path) -> None:
    head = fit(components=3)
    scores = Principal.fit(TRAIN[0], 3).transform
    direct = make_head("gbdt").fit(scores(TRAIN[0]), TRAIN[1], select=(scores(SELECT[0]), SELECT[1]))
    assert_equal(head.predict_proba(TEST[0]), direct.predict_proba(scores(TEST[0])))
    assert_equal(head.predict_proba(TEST[0]), reload(head, tmp_path).predict_proba(TEST[0]))
    assert "3 principal components of 6 columns" in head.notes_[0]
    assert_equal(fit(components=6).predict_proba(TEST[0]), fit(components=0).predict_proba(TEST[0]))


def test_many_values_are_learnt_from_as_components_and_few_are_not() -> None:
    found = [GbdtConfig().components_for(shape) for shape in ((2**14, 2**10), (2**14 + 1, 2**10), (10**6, 100))]
    assert found == [0, 512, 0]
    assert [GbdtConfig(components=5).components_for((10, d)) for d in (5, 6)] == [0, 5]


def test_a_head_of_the_first_version_has_no_components_and_is_read(tmp_path: Path) -> None:
    head = fit()
    head.save(tmp_path)
    path = tmp_path / "head.json"
    fields = json.loads(path.read_text())
    del fields["fitted"]["n_components"], fields["config"]["components"]
    path.write_text(json.dumps(fields))
    assert_equal(head.predict_proba(TEST[0]), GbdtHead.load(Contents(tmp_path)).predict_proba(TEST[0]))


def test_spoilt_components_are_refused(tmp_path: Path) -> None:
    fit(components=3).save(tmp_path)
    path, description = tmp_path / "components.safetensors", tmp_path / "head.json"
    arrays, fields = load_file(path), json.loads(description.read_text())
    for name, value, message in (
        ("scaler.axes", arrays["scaler.axes"][:, :2], r"expected float32 \(6, 3\)"),
        ("scaler.axes", arrays["scaler.axes"][:5], r"expected float32 \(6, 3\)"),
        ("scaler.mean", arrays["scaler.mean"].astype(np.float64), "expected float32"),
        ("scaler.mean", np.full(6, np.inf, dtype=np.float32), "NaN or infinite"),
        ("more", arrays["scaler.mean"], "expected"),
    ):
        save_file({**arrays, name: np.ascontiguousarray(value)}, path)
        with pytest.raises(HeadsError, match=message):
            GbdtHead.load(Contents(tmp_path))
    save_file(arrays, path)
    for n, message in ((2, "expected float32"), (0, "max_feature_idx"), (6, "0 to 5"), (-1, "0 to 5"), (3.0, "0 to 5")):
        description.write_text(json.dumps({**fields, "fitted": {**fields["fitted"], "n_components": n}}))
        with pytest.raises(HeadsError, match=message):
            GbdtHead.load(Contents(tmp_path))
    description.write_text(json.dumps(fields))
    path.unlink()
    with pytest.raises(HeadsError, match="not a file"):
        GbdtHead.load(Contents(tmp_path))


@pytest.mark.slow
def test_nothing_is_printed_by_fit_save_load_and_predict(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from heads.gbdt.head import GbdtConfig, GbdtHead\n"
        "from heads.files.contents import Contents; from heads.data.tasks import build_targets, default_tasks\n"
        "X, y, tasks = np.eye(90, 4, dtype=np.float32), np.arange(90) % 2, default_tasks('xy')\n"
        "rows = X, build_targets(tasks, {'a': y, 'b': np.arange(90) // 2 % 2})\n"
        "folder, head = Path(sys.argv[1]), GbdtHead(tasks, GbdtConfig(rounds=3)).fit(*rows, select=rows)\n"
        "head.save(folder); GbdtHead.load(Contents(folder)).predict_proba(X)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "settings",
    [
        {"rounds": 0},
        {"rounds": 1e3},
        {"num_leaves": 1},
        {"learning_rate": 0},
        {"feature_fraction": 1.1},
        {"feature_fraction": float("nan")},
        {"num_threads": -1},
        {"max_bin": "many"},
        {"components": -1},
        {"components": 1.5},
        {"patience": True},
        {"rounds": 10**400},
        {"learning_rate": 10**400},
        {"feature_fraction": 0},
        {"feature_fraction": True},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(HeadsError, match=f"^{next(iter(settings))} is "):
        GbdtConfig.from_mapping(settings)


def test_a_spoilt_folder_is_refused(tmp_path: Path) -> None:
    fit().save(tmp_path)
    description, model = tmp_path / "head.json", tmp_path / "model-1.txt"
    original, text = description.read_text(), model.read_bytes()
    fields = json.loads(original)
    for codes in (None, [], [0, 0, 1], [2, 1, 0], [0, 3], [-1, 1], [0.0, 1.0], [0, 1]):
        present = {"a": [0, 1], "b": codes}
        fitted = {"present": present, "best_rounds": {}, "n_components": 0}
        description.write_text(json.dumps({**fields, "fitted": fitted}))
        with pytest.raises(HeadsError):
            GbdtHead.load(Contents(tmp_path))
    fitted = {"present": {"a": [1], "b": [0]}, "best_rounds": {}}
    description.write_text(json.dumps({**fields, "fitted": fitted}))
    with pytest.raises(HeadsError, match="binary task 'a'"):
        GbdtHead.load(Contents(tmp_path))
    description.write_text(original)
    for spoilt in (b"", text[:-20], text.replace(b"\n", b"\r\n"), text.replace(b"tree", b"tr\xffe"), text + b"\0"):
        model.write_bytes(spoilt)
        with pytest.raises(HeadsError, match="LightGBM model text"):
            GbdtHead.load(Contents(tmp_path))
    model.write_bytes(text)
    fitted = fields["fitted"]
    for changes in ({"n_components": 10**299}, {"n_components": True}, {"n_components": 1.0}, {"best_rounds": []}):
        description.write_text(json.dumps({**fields, "fitted": {**fitted, **changes}}))
        with pytest.raises(HeadsError, match="expected"):
            GbdtHead.load(Contents(tmp_path))
    for rounds in (-1, True, 1.0, 10**299):
        spoilt = {**fitted, "best_rounds": {"a": 1, "b": rounds}}
        description.write_text(json.dumps({**fields, "fitted": spoilt}))
        with pytest.raises(HeadsError, match="has best_rounds"):
            GbdtHead.load(Contents(tmp_path))
    description.write_text(original)
    model.unlink()
    with pytest.raises(HeadsError, match="not a file"):
        GbdtHead.load(Contents(tmp_path))
