"""Laws of training: what it may look at, what it records, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featcache import FeatureStore, link_rows
from featcache.synthetic import SyntheticOutput, SyntheticView, write_synthetic
from heads.data.choices import choose_selections, choose_views
from heads.data.division import CLASS_RULE, divide_validation
from heads.data.features import Features
from heads.data.loading import load_features, load_fit_rows
from heads.data.row_source import StoredRows
from heads.errors import HeadsError
from heads.runs.fitting import FittedRun, fit_run, parse_config
from heads.runs.run import load_run
from heads.verdicts.balanced import THRESHOLD_RULE, choose_balanced
from heads.verdicts.fitting import Scores, fit_maps
from tests.heads.synthetic import QUICK, Row, load_fit_features, train_run, write_cache


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("train") / "cache")


def weights(folder: Path) -> bytes:
    return (folder / "head" / "weights.safetensors").read_bytes()


def test_settings_come_from_the_head_and_unknown_ones_are_refused() -> None:
    config = parse_config({"dim": 64, "seed": 3})
    assert (config.head, config.seed, config.settings["dim"], config.settings["lr"]) == ("mlp", 3, 64, 1e-3)
    with pytest.raises(HeadsError, match="unknown setting 'dimm'"):
        parse_config({"dimm": 64})
    with pytest.raises(HeadsError, match="unknown kind of head 'svm'"):
        parse_config({"head": "svm"})
    with pytest.raises(HeadsError, match="members 'linear,mlp' are of head 'ensemble', head is 'linear'"):
        parse_config({"head": "linear", "members": "linear,mlp"})


def test_the_paper_preset_gives_way_to_what_is_said() -> None:
    config = parse_config({"preset": "paper", "epochs": 2})
    assert (config.settings["loss"], config.settings["lr"], config.settings["epochs"]) == ("paper", 2e-5, 2)
    with pytest.raises(HeadsError, match="preset 'paper' is of head 'mlp'"):
        parse_config({"head": "linear", "preset": "paper"})
    with pytest.raises(HeadsError, match="unknown preset"):
        parse_config({"preset": "best"})


def test_multitask_is_what_every_head_does_and_other_losses_are_of_mlp() -> None:
    assert "loss" not in parse_config({"head": "linear", "loss": "multitask"}).settings
    with pytest.raises(HeadsError, match="loss 'joint' is of head 'mlp'"):
        parse_config({"head": "gbdt", "loss": "joint"})


def test_raw_scores_of_heads_whose_classes_weigh_the_same_stand_for_as_many_ai_as_real_rows(
    store: FeatureStore, tmp_path: Path
) -> None:
    runs = {
        name: train_run(store, tmp_path / name, head="linear", strengths=[0.1], balance=name)
        for name in ("none", "class")
    }
    assert {name: run.record.config.settings["balance"] for name, run in runs.items()} == {name: name for name in runs}
    # Five generators and one real row a caption.
    assert {name: run.record.verdicts.maps.prior for name, run in runs.items()} == {
        "none": pytest.approx(5 / 6),
        "class": 0.5,
    }
    with pytest.raises(HeadsError, match="no row says where it is from"):
        train_run(store, tmp_path / "origin", head="linear", balance="origin")


def test_fusions_that_are_networks_are_of_mlp() -> None:
    for head in ("linear", "gbdt"):
        with pytest.raises(HeadsError, match=f"fusion 'gated' is a network of head 'mlp', head is {head!r}.* concat"):
            parse_config({"head": head, "fusion": "gated"})
    assert parse_config({"fusion": "gated"}).settings["fusion"] == "gated"


@pytest.mark.parametrize("seed", [-1, 2**40, True, 1.5])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(HeadsError, match="seed is"):
        parse_config({"seed": seed})


@pytest.mark.parametrize("head", ["mlp", "linear", "gbdt"])
def test_every_head_learns_what_the_pictures_show(store: FeatureStore, tmp_path: Path, head: str) -> None:
    run = train_run(store, tmp_path / "run", head=head)
    assert run.record.validation["selecting"]["score"] > 0.8
    assert run.record.validation["calibrating"]["tasks"]["a"]["auc"] > 0.9
    assert run.record.rows["train"] == 180


@pytest.mark.parametrize("fusion", ["logit-mean", "gated"])
def test_every_fusion_learns_what_the_pictures_show_and_is_saved(
    store: FeatureStore, tmp_path: Path, fusion: str
) -> None:
    run = train_run(store, tmp_path / "run", fusion=fusion)
    assert run.record.validation["selecting"]["score"] > 0.7
    features = load_features(store, run.selections, splits=("test",), tasks=run.tasks)
    for name, proba in load_run(tmp_path / "run").predict(features).proba.items():
        np.testing.assert_array_equal(proba, run.predict(features).proba[name])


def test_text_that_carries_nothing_leaves_the_head_at_chance(store: FeatureStore, tmp_path: Path) -> None:
    run = train_run(store, tmp_path / "run", fusion="text")
    for part in ("selecting", "calibrating"):
        # Each caption occurs once with each maker: AUC is exactly one half whatever the head does.
        assert run.record.validation[part]["tasks"]["a"]["auc"] == pytest.approx(0.5, abs=0.02)


def test_equal_seeds_give_equal_weights(store: FeatureStore, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        train_run(store, tmp_path / name, seed=seed)
    assert weights(tmp_path / "one") == weights(tmp_path / "two") != weights(tmp_path / "three")


def test_test_rows_never_influence_training(tmp_path: Path) -> None:
    def poison(rows: list[Row]) -> None:
        for row in rows:
            if row.split == "test":
                row.image = row.image * -1e6
                row.label, row.group = "real", "train-0"

    clean = write_cache(tmp_path / "clean")
    poisoned = write_cache(tmp_path / "poisoned", edit=poison)
    runs = [train_run(store, tmp_path / name) for name, store in (("a", clean), ("b", poisoned))]
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    first, second = (run.record for run in runs)
    assert (first.threshold, first.validation, first.rows) == (second.threshold, second.validation, second.rows)


def test_rows_of_another_split_are_refused(store: FeatureStore) -> None:
    features = load_features(store, choose_selections(store, ["image"]))
    with pytest.raises(HeadsError, match="rows of split 'test'"):
        fit_run(features, parse_config({"fusion": "image", **QUICK}))


def test_refused_and_unlabelled_rows_are_counted_by_reason(tmp_path: Path) -> None:
    def edit(rows: list[Row]) -> None:
        for row in rows[:6]:
            row.caption = None
        rows[7].label = None
        valid = [row for row in rows if row.split == "valid"]
        valid[0].picture = None

    store = write_cache(tmp_path / "cache", edit=edit)
    rows = train_run(store, tmp_path / "run", fusion="concat").record.rows
    assert (rows["train"], rows["train_refused"], rows["train_unlabelled"]) == (173, 6, 1)
    assert (rows["valid"], rows["valid_refused"]) == (95, 1)


def test_without_any_usable_training_row_the_reasons_are_given(tmp_path: Path) -> None:
    def unlabel(rows: list[Row]) -> None:
        for row in rows:
            row.label = None if row.split == "train" else row.label

    store = write_cache(tmp_path / "cache", edit=unlabel)
    with pytest.raises(HeadsError, match=r"none of the 180 rows of split 'train' .* 180 have no label"):
        train_run(store, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["calibrating", "selecting"])
def test_what_a_part_of_validation_has_no_rows_of_is_noted_where_one_group_has_them(
    tmp_path: Path, lacking: str
) -> None:
    def keep_one_real(rows: list[Row]) -> None:
        rows[:] = [r for r in rows if r.split != "valid" or r.label != "real" or r.sample_id == "valid-000-real"]
        for row in rows:
            if lacking == "selecting" and row.group == "valid-2":
                row.group = "valid-1"  # the largest set comes first and selects

    run = train_run(write_cache(tmp_path / "cache", edit=keep_one_real), tmp_path / "run", head="linear")
    notes = {"selecting": run.record.validation["note"], "calibrating": run.record.threshold_note}
    assert f"the {lacking} part of validation has no real rows" in notes.pop(lacking)
    assert list(notes.values()) == [None]
    assert (run.threshold == pytest.approx(150 / 180)) == (lacking == "calibrating")
    rule = "the share of AI in training, as the calibrating part of validation has no real rows"
    assert run.record.verdicts.threshold_rule == (rule if lacking == "calibrating" else THRESHOLD_RULE)
    assert run.record.division_rule == CLASS_RULE


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_one_validation_group_selects_and_leaves_none_to_calibrate(tmp_path: Path, head: str) -> None:
    store = write_cache(tmp_path / "cache", captions={"train": 12, "valid": 1})
    run = train_run(store, tmp_path / "run", head=head)
    assert run.record.validation["calibrating"]["n"] == 0
    assert run.record.validation["calibrating"]["score"] is None
    assert run.threshold == pytest.approx(60 / 72)
    json.dumps(load_run(tmp_path / "run").record.validation, allow_nan=False)


def test_data_with_a_alone_trains_a_alone(tmp_path: Path) -> None:
    def hide(rows: list[Row]) -> None:
        for row in rows:
            row.label = "real" if row.label == "real" else "ai"

    store = write_cache(tmp_path / "cache", edit=hide)
    run = train_run(store, tmp_path / "run")
    assert [task.name for task in run.tasks] == ["a"]
    assert run.record.validation["selecting"]["tasks"].keys() == {"a"}


def test_extra_rows_train_and_leave_validation_as_it_is(store: FeatureStore) -> None:
    selections = choose_selections(store, ["image"])
    features = load_fit_features(store, selections)
    extra = load_features(store, selections, splits=("test",), tasks=features.tasks)
    config = parse_config({"fusion": "image", **QUICK})
    plain, more = fit_run(features, config), fit_run(features, config, extra=extra)
    assert more.rows["pseudo"] == 96
    assert more.validation["digest"] == plain.validation["digest"]
    assert not np.array_equal(more.head.history_[0]["loss"], plain.head.history_[0]["loss"])


def test_progress_is_told_of_every_step(store: FeatureStore) -> None:
    seen: list[object] = []
    features = load_fit_features(store, choose_selections(store, ["image"]))
    fitted = fit_run(features, parse_config({"fusion": "image", **QUICK}), progress=seen.append)
    assert seen == list(fitted.head.history_)


def test_where_no_row_can_be_used_the_fusion_that_could_is_named(tmp_path: Path) -> None:
    def without_captions(rows: list[Row]) -> None:
        for row in rows:
            row.caption = None if row.split == "train" else row.caption

    store = write_cache(tmp_path / "c", edit=without_captions)
    features = load_fit_features(store, choose_selections(store, ("text", "image")))
    with pytest.raises(HeadsError, match=r"lack a modality that fusion 'concat' needs.*; --fusion image could use \d+"):
        fit_run(features, parse_config({"fusion": "concat"}))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mlp", "linear", "gbdt"])
def test_vectors_that_stay_in_the_store_give_the_same_head(store: FeatureStore, head: str) -> None:
    settings = QUICK if head == "mlp" else {}
    config = parse_config({"head": head, "fusion": "concat", **settings})
    selections = choose_selections(store, ("text", "image"))
    held = fit_run(load_fit_features(store, selections), config)
    features, stored = load_fit_rows(store, [selections])
    read = fit_run(features, config, stored=stored)
    assert list(read.head.history_) == list(held.head.history_)
    assert (read.rows, read.validation, read.threshold) == (held.rows, held.validation, held.threshold)


def test_a_head_can_be_fitted_in_less_memory_than_its_matrix(tmp_path: Path) -> None:
    output = {"image": {"pooled": SyntheticOutput(64, signal=3.0)}}
    store = write_synthetic(tmp_path / "c", captions={"train": 400, "valid": 40}, outputs=output).store
    features, stored = load_fit_rows(store, choose_views(store, ["image"]))
    largest = 0
    read = stored.read

    def watch(rows: np.ndarray, view: int = 0) -> np.ndarray:
        nonlocal largest
        largest = max(largest, len(rows))
        return read(rows, view)

    stored.read = watch  # type: ignore[method-assign]
    config = parse_config({"fusion": "image", **QUICK})
    fitted = fit_run(features, config, stored=stored, memory="500KB")
    assert len(features) * 64 * 4 > 500_000 / 2
    assert 0 < largest < len(features) / 2
    assert fitted.validation["calibrating"]["tasks"]["a"]["auc"] > 0.9
    with pytest.raises(HeadsError, match="settings of head 'mlp', head is 'linear'"):
        fit_run(features, parse_config({"head": "linear", "fusion": "image"}), stored=stored, memory="500KB")


def check_calibration(fitted: FittedRun, features: Features, stored: StoredRows) -> None:
    """Assert that threshold and maps are those of the calibrating rows, in every view that was fitted."""
    valid = np.flatnonzero(features.split == "valid")
    rows = valid[divide_validation(features.select(valid)).calibrating]
    part, maps = features.select(rows), fitted.verdicts.maps
    said = [fitted.head.predict_proba(stored.read(rows, view)).proba for view in range(stored.n_views)]
    groups, ai = link_rows(part), part.targets.applies["b"]
    of_a = Scores(part.targets.y["a"], np.stack([proba["a"] for proba in said]), groups)
    of_b = Scores(part.targets.y["b"][ai], np.stack([proba["b"][ai] for proba in said]), groups[ai])
    assert maps == fit_maps(of_a, of_b, prior=5 / 6)
    assert fitted.threshold == choose_balanced(of_a, prior=5 / 6)
    assert fitted.verdicts.threshold_rule == THRESHOLD_RULE


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_a_head_that_saw_a_view_knows_it(tmp_path: Path, head: str) -> None:
    store = write_synthetic(
        tmp_path / "c",
        captions={"train": 100, "valid": 40, "test": 60},
        outputs={"image": {"pooled": SyntheticOutput(12, signal=3.0)}},
        views={"blur:1": SyntheticView(shift=6.0, noise=0.5)},
    ).store
    config = parse_config({"head": head, "fusion": "image", **(QUICK if head == "mlp" else {})})
    blurred = load_features(store, choose_views(store, ["image"], choices={"image": {"view": "blur:1"}})[0])
    aucs = []
    for views in (["clean"], ["clean", "blur:1"]):
        features, stored = load_fit_rows(store, choose_views(store, ["image"], views=views))
        fitted = fit_run(features, config, stored=stored)
        assert fitted.rows["train"] == 600
        check_calibration(fitted, features, stored)
        test = blurred.select(blurred.split == "test")
        decided = fitted.head.predict_proba(test.matrix("image")).proba["b"].argmax(axis=1)
        ai = test.targets.applies["b"]
        aucs.append((decided == test.targets.y["b"])[ai].mean())
    assert aucs[1] > aucs[0] + 0.05


def test_extra_rows_do_not_join_rows_that_stay_in_the_store(store: FeatureStore) -> None:
    selections = choose_selections(store, ["image"])
    features, stored = load_fit_rows(store, [selections])
    extra = load_features(store, selections, splits=("test",), tasks=features.tasks)
    with pytest.raises(HeadsError, match="cannot join"):
        fit_run(features, parse_config({"fusion": "image"}), stored=stored, extra=extra)
