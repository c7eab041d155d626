"""Laws of what is given away: it decides as the run does, and says nothing of the machine it was made on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache import FeatureStore
from heads.errors import HeadsError
from heads.runs.hub_folder import prepare_run, write_hub_folder
from heads.runs.run import Run, load_run, load_run_features, save_run
from tests.heads.synthetic import train_run, write_cache

LEGACY = Path(__file__).parents[2] / "legacy" / "runs"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("hub") / "cache", captions={"train": 12, "valid": 8, "test": 4})


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with paths in all places where a record has some, with scores of folds and pseudo-labels."""
    folder = tmp_path_factory.mktemp("hub")
    made = train_run(store, folder / "made", head="linear")
    producer = made.record.producers["image"]
    places = {"model": r"C:\jane\clip", "path": "/home/jane/models/clip", "revision": None, "beside": "/home/jane/x"}
    record = replace(
        made.record,
        source={"cache": "/home/jane/cache", "dataset": "photos"},
        producers={"image": replace(producer, document={**producer.document, "source": places})},
        pseudo={"teacher": "/home/jane/runs/teacher", "n": 1},
    )
    attachments = {"folds.safetensors": b"scores", "pseudo_labels.csv": b"sample_id\n/home/jane/a.png\n"}
    return save_run(record, made.head, out=folder / "run", likeness=made.likeness, attachments=attachments)


def test_it_decides_as_the_run_does(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    write_hub_folder(prepare_run(load_run(run.path)), "# card\n", out=tmp_path / "hub")
    given = load_run(tmp_path / "hub" / "run")
    features = load_run_features(given, store, splits=("test",))
    for name, proba in run.predict(features).proba.items():
        assert np.array_equal(given.predict(features).proba[name], proba)
    assert (
        given.likeness is not None
        and given.points == run.points
        and (tmp_path / "hub" / "README.md").read_text() == "# card\n"
    )


def test_no_file_of_it_has_a_path_of_this_machine_or_the_name_of_a_sample(run: Run, tmp_path: Path) -> None:
    given = prepare_run(load_run(run.path))
    write_hub_folder(given, "", out=tmp_path / "hub")
    files = {
        path.relative_to(tmp_path / "hub").as_posix(): path for path in tmp_path.rglob("hub/**/*") if path.is_file()
    }
    assert "run/folds.safetensors" in files and "run/pseudo_labels.csv" not in files
    assert all(b"jane" not in path.read_bytes() for path in files.values())
    assert given.record.source == {"cache": "cache", "dataset": "photos"}
    assert given.record.pseudo == {"teacher": "teacher", "n": 1}
    source: Any = given.record.producers["image"].document["source"]
    assert source == {"model": "clip", "path": None, "revision": None, "beside": "x"}
    assert load_run(tmp_path / "hub" / "run").record.digest == given.record.digest != run.record.digest


def test_what_is_on_a_hub_keeps_its_name_and_revision(store: FeatureStore, run: Run) -> None:
    place = {"model": "org/name", "revision": "abc", "path": None}
    producer = run.record.producers["image"]
    document = {**producer.document, "source": place}
    record = replace(run.record, producers={"image": replace(producer, document=document)}, pseudo=None)
    given = prepare_run(replace(run, record=record))
    assert given.record.producers["image"].document["source"] == place and given.record.pseudo is None


@pytest.mark.parametrize("name", ["mlp-concat", "gbdt", "pseudo"])
def test_early_runs_are_given_away_too(name: str, tmp_path: Path) -> None:
    write_hub_folder(prepare_run(load_run(LEGACY / name)), "", out=tmp_path / "hub")
    assert load_run(tmp_path / "hub" / "run").record.config == load_run(LEGACY / name).record.config


def test_only_such_a_folder_is_replaced(run: Run, tmp_path: Path) -> None:
    given, out = prepare_run(load_run(run.path)), tmp_path / "hub"
    write_hub_folder(given, "old", out=out)
    with pytest.raises(HeadsError, match="exists already"):
        write_hub_folder(given, "new", out=out)
    write_hub_folder(given, "new", out=out, overwrite=True)
    assert (out / "README.md").read_text() == "new"
    (out / "mine.txt").write_text("mine")
    with pytest.raises(HeadsError, match=r"holds 'mine\.txt'"):
        write_hub_folder(given, "newer", out=out, overwrite=True)
    with pytest.raises(HeadsError, match="is the run itself"):
        write_hub_folder(given, "", out=run.path, overwrite=True)
    assert (out / "mine.txt").exists() and (out / "README.md").read_text() == "new"
