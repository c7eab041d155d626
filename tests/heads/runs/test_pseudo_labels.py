"""Laws of pseudo-labelling: validation never changes, labels have a provenance, leaks are closed."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heads.runs.pseudo_labels as module
from featcache import FeatureStore
from heads.data.choices import choose_selections
from heads.data.division import CLASS_RULE, SIZE_RULE
from heads.data.features import Features
from heads.data.tasks import default_tasks
from heads.errors import HeadsError
from heads.evaluation.scores import evaluate
from heads.head.protocol import Prediction
from heads.runs.fitting import fit_run, parse_config
from heads.runs.pseudo_labels import choose_labels, pseudo_label
from heads.runs.recording import build_record
from heads.runs.run import Run, load_run, save_run
from tests.heads.synthetic import GENERATORS, Row, load_fit_features, train_run, write_cache

TASKS = default_tasks(("x", "y"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("pseudo") / "cache")


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("pseudo") / "run", head="linear")


def prediction(p: list[float], q: list[float]) -> Prediction:
    b = np.array([[x, 1 - x] for x in q], dtype=np.float32)
    return Prediction({"a": np.array(p, dtype=np.float32), "b": b})


def test_labels_of_a_and_b_are_chosen_separately() -> None:
    labels = choose_labels(prediction([0.05, 0.3, 0.9, 0.9, 0.79], [0.5, 0.99, 0.95, 0.6, 0.99]), TASKS, 0.8)
    assert labels.a.tolist() == [0, -1, 1, 1, -1]  # a real row needs no confidence in B
    assert labels.b.tolist() == [-1, -1, 0, -1, -1]  # B only on rows kept as AI


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=30),
    st.floats(0.51, 1),
)
def test_every_label_is_confident_and_b_is_within_ai(rows: list[tuple[float, float]], threshold: float) -> None:
    labels = choose_labels(prediction([p for p, _ in rows], [q for _, q in rows]), TASKS, threshold)
    assert (labels.confidence_a[labels.a >= 0] >= np.float32(threshold)).all()
    assert (labels.a[labels.b >= 0] == 1).all()
    assert (labels.confidence_b[labels.b >= 0] >= np.float32(threshold)).all()


@pytest.mark.parametrize("threshold", [0.5, 1.01, -1.0, float("nan")])
def test_a_threshold_is_above_one_half(threshold: float) -> None:
    with pytest.raises(HeadsError, match="threshold is"):
        choose_labels(prediction([0.5], [0.5]), TASKS, threshold)


@pytest.mark.slow
def test_validation_is_the_same_before_and_after(run: Run, store: FeatureStore) -> None:
    found = pseudo_label(run, store, "test")
    assert found.fitted.validation["digest"] == run.record.validation["digest"]
    assert found.fitted.rows["valid"] == run.record.rows["valid"]
    assert found.fitted.rows["train"] == run.record.rows["train"]
    assert found.fitted.rows["pseudo"] == found.report["n_taken"] == len(found.rows)
    assert set(found.rows.split) == {"test"}


def with_rule(run: Run, rule: object) -> Run:
    return replace(run, record=replace(run.record, validation={**run.record.validation, "rule": rule}))


@pytest.mark.slow
def test_validation_goes_on_being_divided_by_the_rule_of_the_run(tmp_path: Path) -> None:
    def join(rows: list[Row]) -> None:
        """Make groups on which the rules differ: large ones without real rows."""
        rows[:] = [row for row in rows if row.split != "valid" or row.label != "real" or row.group > "valid-5"]
        for row in rows:
            row.group = "valid-0" if "valid-0" < row.group < "valid-4" else row.group

    store = write_cache(tmp_path / "cache", edit=join)
    features = load_fit_features(store, choose_selections(store, ["image"]))
    config, digests = parse_config({"fusion": "image", "head": "linear"}), set()
    for rule in (CLASS_RULE, SIZE_RULE):
        fitted = fit_run(features, config, rule=rule)
        record = build_record(fitted, store, selections=choose_selections(store, ["image"]))
        run = save_run(record, fitted.head, out=tmp_path / str(len(digests)))
        again = pseudo_label(run, store, "test").fitted.validation
        assert (again["rule"], again["digest"]) == (rule, run.record.validation["digest"])
        digests.add(again["digest"])
    assert len(digests) == 2


@pytest.mark.parametrize("rule", ["a newer one", None, ["a list"]])
def test_a_run_that_was_divided_by_an_unknown_rule_is_refused(run: Run, store: FeatureStore, rule: object) -> None:
    with pytest.raises(HeadsError, match="unknown rule"):
        pseudo_label(with_rule(run, rule), store, "test")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_train_and_valid_are_never_pseudo_labelled(run: Run, store: FeatureStore, split: str) -> None:
    with pytest.raises(HeadsError, match=f"split '{split}' cannot be pseudo-labelled"):
        pseudo_label(run, store, split)


@pytest.mark.slow
def test_the_labels_are_the_heads_and_not_the_stores(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    def lie(rows: list[Row]) -> None:
        for row in rows:
            row.label = "real" if row.split == "test" else row.label

    liar = write_cache(tmp_path / "cache", edit=lie)
    honest, lied = pseudo_label(run, store, "test"), pseudo_label(run, liar, "test")
    assert (honest.labels.a == lied.labels.a).all()
    assert honest.fitted.validation == lied.fitted.validation
    assert lied.report["tasks"]["a"]["ai"]["precision"] == 0.0
    assert {row["precision"] for row in lied.report["tasks"]["b"].values()} == {0.0}


@pytest.mark.slow
def test_true_precision_is_told_per_class_where_labels_exist(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    report = pseudo_label(run, store, "test").report["tasks"]
    assert report["a"].keys() == {"real", "ai"}
    assert report["b"].keys() == set(GENERATORS)
    assert report["a"]["ai"]["precision"] > 0.9
    assert sum(row["taken"] for row in report["a"].values()) == sum(row["known"] for row in report["a"].values())

    def unlabel(rows: list[Row]) -> None:
        for row in rows:
            row.label = None if row.split == "test" else row.label

    blind = pseudo_label(run, write_cache(tmp_path / "cache", edit=unlabel), "test").report["tasks"]
    assert blind["a"]["ai"] == {"taken": report["a"]["ai"]["taken"], "known": 0, "precision": None}


@pytest.mark.slow
def test_rows_that_share_group_or_content_with_validation_are_dropped(tmp_path: Path) -> None:
    def leak(rows: list[Row]) -> None:
        test = [row for row in rows if row.split == "test"]
        valid = [row for row in rows if row.split == "valid"]
        test[0].group = valid[0].group
        test[7].picture = valid[-1].picture
        for row in test[12:18]:
            row.caption = valid[60].caption

    store = write_cache(tmp_path / "cache", edit=leak)
    run = train_run(store, tmp_path / "run", fusion="concat", head="linear")
    found = pseudo_label(run, store, "test")
    assert found.report["n_overlap"] == 8
    dropped = {"test-000-real", "test-001-sd21", *(f"test-002-{name}" for name in ("real", *GENERATORS))}
    assert not dropped & set(found.rows.sample_id)


def test_another_validation_than_the_runs_is_refused(run: Run, tmp_path: Path) -> None:
    def change(rows: list[Row]) -> None:
        next(row for row in rows if row.split == "valid").label = "sdxl"

    with pytest.raises(HeadsError, match="validation rows of this cache are not those"):
        pseudo_label(run, write_cache(tmp_path / "cache", edit=change), "test")


def test_a_refit_that_changed_validation_would_be_caught(
    run: Run, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.fit_run

    def leaky(features, config, *, extra, rule, progress):  # type: ignore[no-untyped-def]
        """Do what the paper's code did: let pseudo-labelled rows into validation."""
        split = features.split.copy()
        split[0] = "valid"
        return original(replace(features, split=split), config, extra=extra, rule=rule, progress=progress)

    monkeypatch.setattr(module, "fit_run", leaky)
    with pytest.raises(HeadsError, match="validation rows"):
        pseudo_label(run, store, "test")


def test_nothing_sure_enough_says_how_sure_the_head_is(
    run: Run, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Run.predict

    def hesitate(run: Run, rows: Features) -> Prediction:
        return Prediction({name: np.clip(proba, 0.1, 0.9) for name, proba in predict(run, rows).proba.items()})

    monkeypatch.setattr(Run, "predict", hesitate)
    with pytest.raises(HeadsError, match=r"no label reaches confidence 1\.0 .*the highest is"):
        pseudo_label(run, store, "test", threshold=1.0)


def test_nothing_left_to_label_says_why(run: Run, tmp_path: Path) -> None:
    def strip(rows: list[Row]) -> None:
        for row in rows:
            if row.split == "test":
                row.group = "valid-0"

    with pytest.raises(HeadsError, match="96 share a group or content"):
        pseudo_label(run, write_cache(tmp_path / "cache", edit=strip), "test")


@pytest.mark.slow
def test_the_round_is_deterministic_and_every_label_has_a_provenance(run: Run, store: FeatureStore) -> None:
    first, second = pseudo_label(run, store, "test"), pseudo_label(run, store, "test")
    assert first.table() == second.table()
    rows = list(csv.DictReader(io.StringIO(first.table().decode())))
    assert [row["sample_id"] for row in rows] == first.rows.sample_id.tolist()
    for row in rows:
        assert float(row["confidence_a"]) >= 0.8
        assert (row["label_b"] != "") <= (row["label_a"] == "ai")
        assert (row["label_b"] != "") == (row["confidence_b"] != "")


def test_later_scores_on_that_split_are_transductive(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    found = pseudo_label(run, store, "test")
    record = build_record(found.fitted, store, selections=run.selections, transductive=("test",), pseudo=found.report)
    save_run(record, found.fitted.head, out=tmp_path / "run", attachments={module.PSEUDO_FILE: found.table()})
    loaded = load_run(tmp_path / "run")
    assert evaluate(loaded, store, "test").transductive
    assert not evaluate(loaded, store, "valid").transductive
    assert module.PSEUDO_FILE in loaded.record.files


def test_a_head_of_a_alone_labels_a_alone(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", generators=("sdxl",))
    run = train_run(store, tmp_path / "run", head="linear")
    found = pseudo_label(run, store, "test")
    assert found.report["tasks"].keys() == {"a"}
    assert (found.labels.b == -1).all()
    assert found.table().decode().splitlines()[1].endswith(",")
