"""Laws of the run folder: whole or absent, and read with suspicion."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from featcache import FeatcacheError, FeatureStore, FingerprintMismatch
from featcache.files.owner import Owner
from featcache.files.regular import open_regular
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.runs.record import format_record, parse_record
from heads.runs.run import Run, load_run, load_run_features, prepare_run_out, save_run
from heads.verdicts.points import OperatingPoint
from heads.verdicts.record import VerdictRules
from tests.heads.synthetic import train_run, write_cache

POINT = {"name": "strict", "view": "clean", "ai_from": 0.9, "real_below": 0.5, "guarantees": []}


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
    assert set(record["files"]) == {"head/head.json", "head/weights.safetensors", "novelty.safetensors"}
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
        (lambda r: r.update(format=3), "format 3 .*expected format 2"),
        (lambda r: r.pop("format"), "no format version"),
        (lambda r: r.update(kind="zip"), "of kind 'zip'"),
        (lambda r: r.update(threshold=1.5), "malformed threshold"),
        (lambda r: r.update(threshold=float("nan")), "not a JSON number"),
        (lambda r: r.update(threshold=True), "malformed threshold"),
        (lambda r: r.update(threshold=10**299), "malformed threshold"),
        (lambda r: r.update(threshold=10**400), "a number of 401 digits"),
        (lambda r: r.update(threshold="1e999"), "malformed threshold"),
        (lambda r: r.update(format=True), "format True .*expected format 2"),
        (lambda r: r.update(format=1.0), "format 1.0 .*expected format 2"),
        (lambda r: r["rows"].update(train=2**63), "malformed rows"),
        (lambda r: r["rows"].update(train=True), "malformed rows"),
        (lambda r: r["config"].update(seed=10**299), "seed is a whole number of 994 bits, expected"),
        (lambda r: r["producers"]["text"]["selection"].update(widths=[True]), "malformed selection"),
        (lambda r: r.update(history=[{"loss": float("inf")}]), "not a JSON number"),
        (lambda r: r["tasks"][0].update(name="\ud800"), "surrogates not allowed"),
        (lambda r: r.update(transductive="test"), "malformed transductive"),
        (lambda r: r.update(views=[1]), "malformed views"),
        (lambda r: r.update(verdicts=[]), "malformed verdicts"),
        (lambda r: r["verdicts"].update(threshold_rule=3), "malformed verdicts"),
        (lambda r: r["verdicts"].update(point="strict"), "no operating point 'strict', expected one of balanced"),
        (lambda r: r["verdicts"].update(points=[POINT, POINT]), "two operating points 'strict'"),
        (lambda r: r["verdicts"].update(points=[POINT] * 65), "65 operating points, expected at most 64"),
        (lambda r: r["verdicts"]["maps"].update(prior=1), "prior is 1, expected a number from"),
        (lambda r: r.update(files={"head/../../x": "0" * 64}), "malformed files"),
        (lambda r: r.update(files={"/etc/passwd": "0" * 64}), "malformed files"),
        (lambda r: r["config"].update(more=1), "config of .* unknown key 'more'"),
        (lambda r: r["config"].update(fusion="film"), "unknown fusion 'film'"),
        (lambda r: r["config"].update(fusion=[]), "malformed config"),
        (lambda r: r["config"]["settings"].update(epochs=10**200), "malformed config"),
        (lambda r: r["config"]["settings"].update(strengths=[1, {"lr": 1e300}]), "malformed config"),
        (lambda r: r.update(pseudo={"n": -(10**200)}), "malformed pseudo"),
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
        (lambda r: r.update(files={f"f{i}": "0" * 64 for i in range(199)}), "lists 199 files"),
    ],
)
def test_a_tampered_record_is_refused_in_one_line(
    folder: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit_record(folder, edit)
    with pytest.raises(HeadsError, match=message) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_the_first_format_had_no_operating_points_and_at_first_no_views(folder: Path) -> None:
    def make_old(record: dict[str, Any]) -> None:
        record["format"] = 1
        del record["views"], record["verdicts"]

    edit_record(folder, make_old)
    run = load_run(folder)
    assert (run.record.views, run.record.verdicts) == ((), VerdictRules())
    assert run.point() == OperatingPoint("balanced", "clean", run.threshold, run.threshold)
    with pytest.raises(HeadsError, match="fit it again"):
        run.check_prior(0.1)


def test_points_are_found_by_name(folder: Path) -> None:
    edit_record(folder, lambda record: record["verdicts"].update(points=[POINT], point="strict"))
    run = load_run(folder)
    assert run.point().name == "strict" and run.point().real_below == 0.5
    assert run.point("balanced").ai_from == run.threshold
    with pytest.raises(HeadsError, match="no operating point 'other', expected one of balanced, strict"):
        run.point("other")


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
    save_run(saved.record, saved.head, out=folder, overwrite=True)
    load_run(folder)
    other = folder.parent / "precious"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(HeadsError, match="not overwritten"):
        prepare_run_out(other, overwrite=True)
    link = folder.parent / "link"
    link.symlink_to(other)
    with pytest.raises(HeadsError, match="not overwritten"):
        prepare_run_out(link, overwrite=True)
    link.unlink()
    link.symlink_to(folder)
    with pytest.raises(HeadsError, match="not overwritten"):
        save_run(saved.record, saved.head, out=link, overwrite=True)
    load_run(link)


@pytest.mark.parametrize(
    "stranger", ["notes.txt", ".git/config", "head/checkpoints/1", "head/thesis.txt", "head/model-x.txt", "zoo/"]
)
def test_a_run_with_a_file_that_no_run_has_is_not_overwritten(saved: Run, folder: Path, stranger: str) -> None:
    path = folder / stranger
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if stranger.endswith("/") else path.write_text("mine")
    first = {".git/config": ".git", "head/checkpoints/1": "head/checkpoints"}.get(stranger, stranger.rstrip("/"))
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(HeadsError, match=rf"^{folder} holds '{first}', .*not overwritten") as caught:
        save_run(saved.record, saved.head, out=folder, overwrite=True)
    assert "\n" not in str(caught.value)
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("stranger", ["thesis.txt", "head/thesis.txt"])
def test_what_a_record_lists_does_not_become_part_of_a_run(saved: Run, folder: Path, stranger: str) -> None:
    (folder / stranger).write_text("mine")
    edit_record(folder, lambda record: record["files"].update({stranger: "0" * 64}))
    with pytest.raises(HeadsError, match=rf"^{folder} holds '{stranger}', .*not overwritten"):
        prepare_run_out(folder, overwrite=True)
    with pytest.raises(HeadsError, match=rf"^{folder} holds '{stranger}', .*not overwritten"):
        save_run(saved.record, saved.head, out=folder, overwrite=True)
    assert (folder / stranger).read_text() == "mine"


def test_where_a_run_is_refused_nothing_is_removed(saved: Run, folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    draft = folder.with_name(f".{folder.name}.{Owner.current().host}-{child.pid}-{'0' * 16}.tmp")
    draft.mkdir()
    with pytest.raises(HeadsError, match="--overwrite"):
        prepare_run_out(folder)
    with pytest.raises(HeadsError, match="--overwrite"):
        save_run(saved.record, saved.head, out=folder)
    assert draft.exists()
    prepare_run_out(folder, overwrite=True)
    assert not draft.exists()


def test_a_run_with_attachments_or_a_damaged_head_is_overwritten(saved: Run, folder: Path) -> None:
    attachments = {"pseudo_labels.csv": b"x"}
    save_run(saved.record, saved.head, out=folder, attachments=attachments, overwrite=True)
    (folder / "head" / "weights.safetensors").write_bytes(b"")
    (folder / "head" / "model-1.txt").write_bytes(b"")
    save_run(saved.record, saved.head, out=folder, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"run.json", "head"} and load_run(folder)
    (folder / "run.json").write_text("{")
    save_run(saved.record, saved.head, out=folder, overwrite=True)
    load_run(folder)


def test_what_links_in_an_overwritten_run_lead_to_stays(saved: Run, folder: Path) -> None:
    precious = folder.parent / "precious"
    precious.mkdir()
    (precious / "weights.safetensors").write_text("mine")
    (folder / "head" / "weights.safetensors").unlink()
    (folder / "head" / "weights.safetensors").symlink_to(precious / "weights.safetensors")
    save_run(saved.record, saved.head, out=folder, overwrite=True)
    assert (precious / "weights.safetensors").read_text() == "mine"
    assert not (folder / "head" / "weights.safetensors").is_symlink()
    (folder / "head").rename(folder.parent / "head")
    (folder / "head").symlink_to(folder.parent / "head")
    load_run(folder)
    with pytest.raises(HeadsError, match="holds 'head'"):
        save_run(saved.record, saved.head, out=folder, overwrite=True)


def test_a_run_may_be_made_of_links(saved: Run, tmp_path: Path) -> None:
    """As a snapshot of the Hub is."""
    folder = tmp_path / "snapshot"
    (folder / "head").mkdir(parents=True)
    for name in ("run.json", "novelty.safetensors", "head/head.json", "head/weights.safetensors"):
        (folder / name).symlink_to(saved.path / name)
    assert load_run(folder).record == saved.record


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
    with pytest.raises(FeatcacheError, match=r"^cannot write .*: Not a directory$"):
        save_run(saved.record, saved.head, out=tmp_path / "file" / "run")


def test_a_full_disk_is_one_clear_line(saved: Run, tmp_path: Path) -> None:
    class Full:
        def save(self, folder: Path) -> None:
            (folder / "half").write_text("x")
            raise OSError(28, "No space left on device")

    with pytest.raises(HeadsError, match=rf"^cannot write {tmp_path / 'run'}: No space left on device$"):
        save_run(saved.record, Full(), out=tmp_path / "run")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [2**30 + 1, 2**40])
@pytest.mark.parametrize("name", ["run.json", "head/head.json", "head/weights.safetensors", "head/more"])
def test_a_giant_is_refused_by_its_size_and_not_read(
    folder: Path, name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / name).touch()
    edit_record(folder, lambda record: record["files"].update({"head/more": "0" * 64}))
    (folder / "head" / "more").touch()
    os.truncate(folder / name, size)
    monkeypatch.setattr("heads.files.contents.hash_file", lambda *_: pytest.fail("a file was hashed"))
    started = time.process_time()
    with pytest.raises(HeadsError, match=rf"{name} has {size} bytes, expected at most"):
        load_run(folder)
    assert time.process_time() - started < 1


def test_all_sizes_are_looked_at_before_any_file_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_record(folder, lambda record: record["files"].update({f"more{i}": "0" * 64 for i in range(3)}))
    for i in range(3):
        (folder / f"more{i}").touch()
        os.truncate(folder / f"more{i}", 2**30)
    monkeypatch.setattr(Contents, "read", lambda *_, **__: pytest.fail("a file was read"))
    with pytest.raises(HeadsError, match="in all files of a run"):
        load_run(folder)


def test_weights_longer_than_the_head_needs_are_refused_by_their_size(folder: Path) -> None:
    os.truncate(folder / "head" / "weights.safetensors", 2**29)
    with pytest.raises(HeadsError, match=rf"has {2**29} bytes, expected at most"):
        load_run(folder)


@pytest.mark.parametrize("name", ["run.json", "head/head.json", "head/weights.safetensors", "more"])
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "link to a fifo", "dangling link"])
def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path, name: str, kind: str) -> None:
    edit_record(folder, lambda record: record["files"].update(more="0" * 64))
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener, chdir(path.parent):  # the path may be too long for a socket
            listener.bind(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link to a fifo":
        os.mkfifo(folder.parent / "fifo")
        path.symlink_to(folder.parent / "fifo")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(HeadsError):
        load_run(folder)


def test_each_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def count(path: Any) -> Any:
        opened.append(Path(path).name)
        return open_regular(path)

    monkeypatch.setattr("heads.files.folder.open_regular", count)
    load_run(folder)
    assert sorted(opened) == ["head.json", "novelty.safetensors", "run.json", "weights.safetensors"]


@pytest.mark.slow
def test_a_run_that_waits_is_named_when_it_is_read_and_put_back_by_the_next_command(
    saved: Run, folder: Path, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from featcache.files import folders\n"
        "from heads.runs.run import *\n"
        "run, out, rename = load_run(Path(sys.argv[1])), Path(sys.argv[2]), Path.rename\n"
        "folders.exchange_names = lambda *_: False\n"
        "def die(self, target): os.kill(os.getpid(), signal.SIGKILL) if target == out else rename(self, target)\n"
        "Path.rename = die\n"
        "save_run(run.record, run.head, out=out, overwrite=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved.path), str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL and not folder.exists()
    with pytest.raises(HeadsError, match=r"run is missing: .* put back by: mv .*\.old .*run$"):
        load_run(folder)
    with pytest.raises(HeadsError, match="exists already"):
        prepare_run_out(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert load_run(folder).record == saved.record


@pytest.mark.slow
def test_what_a_killed_training_left_goes_with_the_next(saved: Run, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from heads.runs.run import *\n"
        "from heads.runs import run as runs\n"
        "run = load_run(Path(sys.argv[1]))\n"
        "runs.hash_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "save_run(run.record, run.head, out=Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved.path), str(tmp_path / "r")], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    prepare_run_out(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_vectors_of_another_producer_are_refused_and_the_field_is_named(saved: Run, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "cache", resize="bilinear")
    with pytest.raises(FingerprintMismatch, match=r"resize: 'bicubic' → 'bilinear'"):
        load_run_features(saved, other, splits=("test",))


def test_a_cache_without_a_needed_modality_is_refused(saved: Run, tmp_path: Path) -> None:
    other = write_cache(tmp_path / "cache", modalities=("image",))
    with pytest.raises(HeadsError, match="needs text vectors"):
        load_run_features(saved, other)
