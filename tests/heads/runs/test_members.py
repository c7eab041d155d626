"""Laws of ensembles of runs: nothing is fitted, and what does not fit together is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from featcache import FeatureStore
from heads.data.choices import choose_selections
from heads.ensemble.head import EnsembleHead
from heads.ensemble.pooling import pool
from heads.errors import HeadsError
from heads.runs.fitting import fit_run, parse_config
from heads.runs.members import MemberRuns
from heads.runs.run import load_run, load_run_features
from tests.heads.synthetic import load_fit_features, train_run, write_cache


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache and runs on it, one of pictures alone."""
    folder = tmp_path_factory.mktemp("members")
    store = write_cache(folder / "cache")
    for name, fusion in (("image", "image"), ("concat", "concat")):
        train_run(store, folder / name, head="linear", fusion=fusion, strengths=[0.01])
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> FeatureStore:
    return write_cache(folder / "again")


def find(folder: Path, *names: str, **settings: Any) -> tuple[MemberRuns, dict[str, Any]]:
    members = ",".join(str(folder / name) for name in names)
    return MemberRuns.find({"head": "ensemble", "fusion": "concat", "members": members, **settings}, folds=None)


def join(store: FeatureStore, runs: MemberRuns, settings: dict[str, Any]) -> dict[str, Any]:
    config = parse_config(settings)
    modalities = ["image"] if config.fusion == "image" else ["text", "image"]
    selections = choose_selections(store, modalities)
    return runs.fitting(load_fit_features(store, selections), config, selections)


def test_an_ensemble_of_runs_says_the_mean_of_what_they_say(folder: Path, store: FeatureStore, tmp_path: Path) -> None:
    words = ["train", str(folder / "cache"), "--head", "ensemble", "--out", str(tmp_path / "run"), "--json"]
    members = ["--members", f"{folder / 'image'},{folder / 'concat'}"]
    result = CliRunner().invoke(cli.heads_app, [*words, *members])
    assert result.exit_code == 0, result.output
    run, runs = load_run(tmp_path / "run"), [load_run(folder / name) for name in ("image", "concat")]
    rows = load_run_features(run, store, splits=("test",))
    said = pool([each.predict(rows) for each in runs], run.tasks).proba
    for name, proba in run.predict(rows).proba.items():
        np.testing.assert_array_equal(proba, said[name])
    names = [f"run:{each.record.digest[:12]}" for each in runs]
    assert json.loads(result.stdout)["config"]["settings"]["members"] == names
    assert str(folder) not in (tmp_path / "run" / "head" / "head.json").read_text()


def test_nothing_of_the_runs_is_fitted(folder: Path, store: FeatureStore) -> None:
    runs, settings = find(folder, "image", "concat")
    features = load_fit_features(store, choose_selections(store, ["text", "image"]))
    given = join(store, runs, settings)
    head = given["head"]
    assert isinstance(head, EnsembleHead)
    fitted = fit_run(features, parse_config(settings), **given)
    assert [member.head for member in fitted.head.members] == [run.head for run in runs.runs]  # type: ignore[attr-defined]
    assert fitted.validation["digest"] == runs.runs[0].record.validation["digest"]


def test_kinds_of_heads_are_left_to_be_fitted() -> None:
    settings = {"head": "ensemble", "members": "linear,mlp"}
    runs, same = MemberRuns.find(settings, folds=3)
    assert (runs.runs, same) == ((), settings) and runs.views == () and runs.transductive == ()


def test_runs_that_do_not_fit_together_are_told(folder: Path, store: FeatureStore, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "cache", generators=("sd21", "sdxl"), seed=1)
    train_run(other, tmp_path / "two", head="linear", fusion="image", strengths=[0.01])
    with pytest.raises(HeadsError, match=r"two has classes real, ai, sd21, sdxl, .*image has real, ai, sd21"):
        MemberRuns.find({"members": f"{folder / 'image'},{tmp_path / 'two'}"}, folds=None)
    train_run(store, tmp_path / "even", head="linear", fusion="image", strengths=[0.01], balance="class")
    with pytest.raises(HeadsError, match="even was fitted with balance 'class', expected 'none'"):
        MemberRuns.find({"members": f"{folder / 'image'},{tmp_path / 'even'}"}, folds=None)
    with pytest.raises(HeadsError, match="names kinds of heads and folders of runs"):
        MemberRuns.find({"members": f"linear,{folder / 'image'}"}, folds=None)
    with pytest.raises(HeadsError, match="--folds fits heads anew"):
        MemberRuns.find({"members": f"{folder / 'image'},{folder / 'concat'}"}, folds=3)
    runs, settings = find(folder, "image", "concat", fusion="image")
    with pytest.raises(HeadsError, match="concat takes text vectors, which are not among these"):
        join(store, runs, settings)
    train_run(store, tmp_path / "other", head="linear", fusion="image", strengths=[0.1])
    runs, settings = find(folder, "image", str(tmp_path / "other"))
    with pytest.raises(HeadsError, match="no member takes the text vectors"):
        join(store, runs, settings)
    with pytest.raises(HeadsError, match="is not the folder of a run"):
        find(folder, "image", "nowhere")


def test_a_folder_beside_is_a_run_unless_it_has_the_name_of_a_kind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("lda", "image", "concat"):
        shutil.copytree(folder / ("image" if name == "lda" else name), tmp_path / name)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    runs, _ = MemberRuns.find({"members": "image, concat"}, folds=None)
    assert [run.path for run in runs.runs] == [Path("image"), Path("concat")]
    for members in ("lda,linear", "lda*2,linear:image"):
        assert MemberRuns.find({"members": members}, folds=None)[0].runs == ()
    for name in ("empty", "nowhere", "run:0123456789ab", "x" * 300):
        with pytest.raises(HeadsError) as caught:
            MemberRuns.find({"members": f"image,{name}"}, folds=None)
        expected = "expected a kind of head (mlp, linear, lda, gbdt) or the folder of a run"
        assert str(caught.value) == f"--members names {name!r:.80}, {expected}"
    for members in ("image,", ",lda", " "):
        with pytest.raises(HeadsError, match=r"^--members '.*' has an empty name in it, expected heads or folders"):
            MemberRuns.find({"members": members}, folds=None)
    with pytest.raises(HeadsError, match="is not the folder of a run"):
        MemberRuns.find({"members": f"./{'x' * 300}"}, folds=None)


def test_a_run_is_a_member_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match=r"names the same run twice, as \S*image and \S*image: name each once"):
        find(folder, "image", "concat", "image")
    shutil.copytree(folder / "image", tmp_path / "copy")
    with pytest.raises(HeadsError, match=r"names the same run twice, as \S*image and \S*copy: name each once"):
        find(folder, "image", str(tmp_path / "copy"))


def test_rows_that_may_have_chosen_a_member_are_refused(folder: Path, tmp_path: Path) -> None:
    def drop(rows: list[Any]) -> None:
        rows[:] = [row for row in rows if row.sample_id != "valid-003-sdxl"]

    fewer = write_cache(tmp_path / "fewer", edit=drop)
    runs, settings = find(folder, "image", "concat")
    with pytest.raises(HeadsError, match="was selected on other validation rows than these with --fusion concat"):
        join(fewer, runs, settings)


def test_runs_on_vectors_of_another_encoder_or_of_other_outputs_are_refused(folder: Path, tmp_path: Path) -> None:
    elsewhere = write_cache(tmp_path / "cache", image_model="other/image")
    runs, settings = find(folder, "image", "concat")
    with pytest.raises(HeadsError, match=r"image takes image vectors of [0-9a-f]{12} in view clean, these are of"):
        join(elsewhere, runs, settings)


def test_an_ensemble_of_runs_is_no_member_and_cannot_be_fitted(folder: Path, store: FeatureStore) -> None:
    _, settings = find(folder, "image", "concat")
    features = load_fit_features(store, choose_selections(store, ["text", "image"]))
    with pytest.raises(HeadsError, match="fitted runs, which cannot be fitted anew"):
        fit_run(features, parse_config(settings))
