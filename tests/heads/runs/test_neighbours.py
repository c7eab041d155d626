"""Laws of neighbours: the nearest train rows along the axes of the novelty, whatever fits into memory."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import heads.runs.neighbours
from featcache import FeatureStore
from heads.errors import HeadsError
from heads.runs.neighbours import TrainingRows, find_training_rows
from heads.runs.run import Run
from heads.runs.training_cache import open_training
from tests.heads.synthetic import train_run, write_cache


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("near") / "cache")


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("near") / "run", head="linear")


def test_the_nearest_are_those_of_all_pairs_whatever_is_held_at_a_time(
    run: Run, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, X = store.arrays("train"), store.arrays("test").features["image"]
    assert run.likeness is not None
    axes = run.likeness.novelty.axes.astype(np.float64)
    own, seen = train.features["image"] @ axes, X @ axes
    own, seen = own - own.mean(axis=0), seen - own.mean(axis=0)
    lengths = np.linalg.norm(seen, axis=1)[:, None] * np.linalg.norm(own, axis=1)
    distance = 1 - seen @ own.T / lengths
    order = np.argsort(distance, axis=1)[:, :3]
    for values, queries in ((2**22, 256), (50, 7)):
        monkeypatch.setattr(heads.runs.neighbours, "_VALUES", values)
        monkeypatch.setattr(heads.runs.neighbours, "_QUERIES", queries)
        found = find_training_rows(run, store).nearest(X, 3)
        assert [[each.sample_id for each in near] for near in found] == train.sample_id[order].tolist()
        told = [[each.distance for each in near] for near in found]
        assert np.allclose(told, np.take_along_axis(distance, order, 1), atol=1e-5)
        makers = {each.sample_id.split("-")[2]: each.label for near in found for each in near}
        assert makers and all(name == label for name, label in makers.items())


def test_a_training_picture_is_its_own_neighbour_and_of_equals_the_first_comes_first(
    run: Run, store: FeatureStore
) -> None:
    rows, train = find_training_rows(run, store), store.arrays("train")
    X = train.features["image"][4:6]
    assert [near[0].sample_id for near in rows.nearest(X, 1)] == train.sample_id[4:6].tolist()
    twice = TrainingRows(
        rows.axes, rows.centre, rows.directions[[5, 4, 4]], rows.sample_id[:3], rows.label[:3], rows.n_fitted
    )
    assert [each.sample_id for each in twice.nearest(X[:1], 9)[0]] == rows.sample_id[[1, 2, 0]].tolist()


def test_rows_that_were_added_since_are_told(run: Run, store: FeatureStore) -> None:
    assert find_training_rows(run, store).note is None
    fewer = replace(run, record=replace(run.record, rows={**run.record.rows, "train": 100}))
    assert "has 180 train rows, the run was fitted on 100" in str(find_training_rows(fewer, store).note)
    with pytest.raises(HeadsError, match="knows nothing of its training rows: fit it again"):
        find_training_rows(replace(run, likeness=None), store)


def test_the_training_cache_is_the_runs_own_or_where_it_is_now(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    shutil.copytree(store.path, tmp_path / "moved")
    gone = replace(run, record=replace(run.record, source={"cache": str(tmp_path / "gone"), "dataset": "synthetic"}))
    assert open_training(run).path == store.path
    files = sorted(tmp_path.rglob("*"))
    moved = open_training(gone, tmp_path / "moved")
    assert moved.path == tmp_path / "moved" and len(find_training_rows(gone, moved)) == 180
    assert sorted(tmp_path.rglob("*")) == files
    assert open_training(gone, at_hand=store) is store and open_training(run, at_hand=store) is store
    with pytest.raises(HeadsError, match=r"gone of .* is not there: name .*--train-cache DIR"):
        open_training(gone)


def test_vectors_of_another_encoder_are_refused_with_the_fields_and_what_to_type(run: Run, tmp_path: Path) -> None:
    write_cache(tmp_path / "other", resize="bilinear")
    with pytest.raises(HeadsError, match=r"cannot be used: .*resize.*--train-cache DIR"):
        open_training(run, tmp_path / "other")
    with pytest.raises(HeadsError, match=r"cannot be used: .*--train-cache DIR"):
        open_training(run, tmp_path)
