"""Laws of the run folder: whole or absent, and read with suspicion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from featcache import FeatureStore, FingerprintMismatch
from heads.errors import HeadsError
from heads.record import format_record, parse_record
from heads.runs import Run, check_run_out, load_run, load_run_features, save_run
from tests.heads.synthetic import train_run, write_cache


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("runs") / "cache")


@pytest.fixture(scope="module")
def saved(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("saved") / "run", fusion="concat")


@pytest.fixture
def folder(saved: Run, tmp_path: Path) -> Path:
    return copytree(saved.path, tmp_path / "run")


def edit_record(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    fields = json.loads((folder / "run.json").read_text())
    edit(fields)
    (folder / "run.json").write_text(json.dumps(fields))


def test_a_saved_run_predicts_as_the_fitted_one(saved: Run, store: FeatureStore) -> None:
    loaded = load_run(saved.path)
    features = load_run_features(loaded, store, splits=("test",))
    for name, values in saved.predict(features).proba.items():
        assert np.array_equal(loaded.predict(features).proba[name], values)
    assert loaded.tasks == saved.tasks
    assert loaded.record == saved.record


def test_the_record_says_all_that_identifies_a_run(saved: Run, store: FeatureStore) -> None:
    record = json.loads((saved.path / "run.json").read_text())
    assert list(record["producers"]) == ["text", "image"]
    for modality, producer in record["producers"].items():
        fingerprint = producer["selection"]["fingerprint"]
        assert producer["document"] == store.document(fingerprint)
        assert producer["selection"]["modality"] == modality
    assert set(record["files"]) == {"head/head.json", "head/weights.safetensors"}
    assert record["source"] == {"cache": str(store.path), "dataset": "synthetic"}
    assert {"python", "numpy", "torch", "featcache"} <= set(record["versions"])


def test_a_record_reads_back_as_it_was(saved: Run) -> None:
    assert parse_record(format_record(saved.record), "x") == saved.record


@pytest.mark.parametrize("name", ["head/weights.safetensors", "head/head.json"])
def test_a_flipped_bit_is_noticed(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(HeadsError, match="checksum"):
        load_run(folder)


def test_a_missing_and_a_strange_file_are_noticed(folder: Path) -> None:
    (folder / "head" / "more.json").write_text("{}")
    with pytest.raises(HeadsError, match=r"more\.json.*does not list"):
        load_run(folder)
    (folder / "head" / "more.json").rename(folder / "more.json")  # beside run.json anybody may put notes
    load_run(folder)
    (folder / "head" / "weights.safetensors").unlink()
    with pytest.raises(HeadsError, match="lacks the file 'head/weights"):
        load_run(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda r: r.update(extra=1), "unknown key 'extra'"),
        (lambda r: r.pop("threshold"), "lacks the key 'threshold'"),
        (lambda r: r.update(format=2), "format 2 .*expected format 1"),
        (lambda r: r.pop("format"), "no format version"),
        (lambda r: r.update(kind="zip"), "of kind 'zip'"),
        (lambda r: r.update(threshold=1.5), "malformed threshold"),
        (lambda r: r.update(threshold=float("nan")), "not a JSON number"),
        (lambda r: r.update(threshold=True), "malformed threshold"),
        (lambda r: r.update(transductive="test"), "malformed transductive"),
        (lambda r: r.update(views=[1]), "malformed views"),
        (lambda r: r.update(files={"head/../../x": "0" * 64}), "malformed files"),
        (lambda r: r.update(files={"/etc/passwd": "0" * 64}), "malformed files"),
        (lambda r: r["config"].update(more=1), "config of .* unknown key 'more'"),
        (lambda r: r["config"].update(fusion="film"), "unknown fusion 'film'"),
        (lambda r: r["config"].update(fusion=[]), "malformed config"),
        (lambda r: r["config"].update(preset=[]), "malformed preset"),
        (lambda r: r["config"].update(head="pickle"), "unknown kind of head 'pickle'"),
        (lambda r: r["producers"].pop("text"), "needs text vectors"),
        (lambda r: r.update(producers={}), "malformed producers"),
        (lambda r: r["producers"].update(text=[]), "expected an object"),
        (lambda r: r["producers"]["text"].update(document=3), "needs two objects"),
        (lambda r: r["producers"]["text"]["selection"].update(widths=[0]), "malformed selection"),
        (lambda r: r["producers"]["text"]["selection"].update(fingerprint="x"), "malformed selection"),
        (lambda r: r["producers"]["text"]["selection"].update(modality="image"), "malformed selection"),
        (lambda r: r["tasks"][1]["classes"].reverse(), "different tasks or classes"),
        (lambda r: r.update(files={f"f{i}": "0" * 64 for i in range(99)}), "lists 99 files"),
    ],
)
def test_a_tampered_record_is_refused_in_one_line(
    folder: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit_record(folder, edit)
    with pytest.raises(HeadsError, match=message) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_a_run_from_before_views_had_none(folder: Path) -> None:
    edit_record(folder, lambda record: record.pop("views"))
    assert load_run(folder).record.views == ()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": NaN}'])
def test_what_is_no_record_is_refused(folder: Path, text: str) -> None:
    (folder / "run.json").write_text(text)
    with pytest.raises(HeadsError, match=r"run\.json"):
        load_run(folder)


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match="not the folder of a run"):
        load_run(tmp_path)


def test_an_existing_out_is_refused_and_replaced_only_if_it_is_a_run(saved: Run, folder: Path) -> None:
    with pytest.raises(HeadsError, match="--overwrite"):
        save_run(saved.record, saved.head, out=folder)
    (folder / "old").write_text("x")
    save_run(saved.record, saved.head, out=folder, overwrite=True)
    assert not (folder / "old").exists()
    load_run(folder)
    other = folder.parent / "precious"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(HeadsError, match="not overwritten"):
        check_run_out(other, overwrite=True)
    link = folder.parent / "link"
    link.symlink_to(other)
    with pytest.raises(HeadsError, match="not overwritten"):
        check_run_out(link, overwrite=True)


def test_a_failure_leaves_nothing_behind(saved: Run, tmp_path: Path) -> None:
    class Broken:
        def save(self, folder: Path) -> None:
            (folder / "half").write_text("x")
            raise HeadsError("disk full")

    with pytest.raises(HeadsError, match="disk full"):
        save_run(saved.record, Broken(), out=tmp_path / "run")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_line(saved: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HeadsError, match="cannot write"):
        save_run(saved.record, saved.head, out=tmp_path / "file" / "run")


def test_vectors_of_another_producer_are_refused_and_the_field_is_named(saved: Run, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "cache", resize="bilinear")
    with pytest.raises(FingerprintMismatch, match=r"resize: 'bicubic' → 'bilinear'"):
        load_run_features(saved, other, splits=("test",))


def test_a_cache_without_a_needed_modality_is_refused(saved: Run, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "cache", modalities=("image",))
    with pytest.raises(HeadsError, match="needs text vectors"):
        load_run_features(saved, other)
