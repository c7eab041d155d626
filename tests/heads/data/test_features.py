"""Laws of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads.data.choices import choose_selections
from heads.data.features import Features
from heads.data.loading import load_features, load_fit_rows, load_rows
from heads.data.tasks import default_tasks
from heads.errors import HeadsError
from tests.heads.synthetic import GENERATORS, Row, load_fit_features, write_cache


def load(path: Path, **options: object) -> Features:
    store = write_cache(path, **options)
    return load_fit_features(store, choose_selections(store, store.modalities))


def load_fit(path: Path, **options: object) -> Features:
    store = write_cache(path, **options)
    return load_fit_rows(store, [choose_selections(store, store.modalities)])[0]


def test_rows_without_a_modality_are_refused_and_never_filled(tmp_path: Path) -> None:
    def drop(rows: list[Row]) -> None:
        for row in rows[:5]:
            row.caption = None

    features = load(tmp_path / "cache", edit=drop)
    usable = features.usable("concat")
    assert (~usable).sum() == 5
    assert features.usable("image").all()
    assert np.isnan(features.vectors["text"][~usable]).all()
    with pytest.raises(HeadsError, match="cannot use 5 of"):
        features.matrix("concat")
    assert np.isfinite(features.select(usable).matrix("concat")).all()


def test_a_vector_that_is_not_finite_is_an_error_that_names_the_sample(tmp_path: Path) -> None:
    features = load(tmp_path / "cache")
    features.vectors["image"][3, 0] = np.nan
    with pytest.raises(HeadsError, match=r"train-000-sd3.*1 of"):
        features.matrix("image")


def test_classes_are_mapped_by_name_never_by_position(tmp_path: Path) -> None:
    shuffled = ("real", "midjourney", "other", "sdxl", "sd21")
    store = write_cache(tmp_path / "cache", generators=("sd21", "other", "midjourney"), classes=shuffled)
    tasks = default_tasks(GENERATORS)
    features = load_features(store, choose_selections(store, ["image"]), splits=("test",), tasks=tasks)
    for sample_id, y, applies, unseen in zip(
        features.sample_id, features.targets.y["b"], features.targets.applies["b"], features.unseen, strict=True
    ):
        name = sample_id.split("-")[-1]
        assert applies == (name in GENERATORS)
        assert unseen == (name == "other")
        if applies:
            assert GENERATORS[y] == name


def test_tasks_know_only_generators_that_training_shows(tmp_path: Path) -> None:
    def hide(rows: list[Row]) -> None:
        rows[:] = [row for row in rows if not (row.split == "train" and row.label == "sd3")]

    features = load(tmp_path / "cache", edit=hide)
    assert features.tasks[1].classes == ("sd21", "sdxl", "dalle3", "midjourney")
    assert features.unseen.sum() == 16  # the validation rows of sd3


def test_with_one_generator_there_is_no_task_b(tmp_path: Path) -> None:
    features = load(tmp_path / "cache", generators=("sdxl",))
    assert [task.name for task in features.tasks] == ["a"]
    assert not features.unseen.any()


def test_labels_may_be_unknown(tmp_path: Path) -> None:
    def blank(rows: list[Row]) -> None:
        rows[0].label, rows[1].label = None, "ai"

    features = load(tmp_path / "cache", edit=blank)
    assert not features.labelled[0]
    assert features.targets.applies["a"][1]
    assert not features.targets.applies["b"][1]


def test_a_store_without_valid_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match=r"no rows in split 'valid' .*manifest"):
        load_fit(tmp_path / "cache", captions={"train": 4})


def test_only_rows_of_train_and_valid_are_read(tmp_path: Path) -> None:
    assert set(load_fit(tmp_path / "cache").split) == {"train", "valid"}


def test_rows_left_in_the_store_are_the_ones_that_are_read(tmp_path: Path) -> None:
    def drop(rows: list[Row]) -> None:
        rows[3].picture = None

    store = write_cache(tmp_path / "cache", edit=drop)
    selections = choose_selections(store, ["text", "image"])
    whole = load_fit_features(store, selections)
    features, rows = load_rows(store, [selections], splits=("train", "valid"))
    assert not features.vectors and features.tasks == whole.tasks
    assert features.sample_id.tolist() == whole.sample_id.tolist()
    for fusion in ("concat", "image", "text"):
        np.testing.assert_array_equal(features.usable(fusion), whole.usable(fusion))
    usable = np.flatnonzero(features.usable("concat"))[::-1]
    np.testing.assert_array_equal(rows.read(usable), whole.select(usable).matrix("concat"))
    assert rows.columns == whole.columns("concat") == features.columns("concat")
    assert (rows.n_views, rows.n_rows, rows.n_columns) == (1, len(whole), 18)


def test_columns_are_named_by_modality_and_output(tmp_path: Path) -> None:
    features = load(tmp_path / "cache")
    assert features.columns("concat").to_json() == [["text", "cls", 6], ["image", "pooled", 12]]
    assert features.columns("image").width == 12
