"""Laws of entries: what was judged, by what and under which rule; of detection and of scans alike."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featcache
from featcache import ExtractedPictures, FeatureStore
from featcache.dataset.readers.left_out import Gap
from featcache.extraction.pictures import RowFault
from heads.files.chained_log import ChainedLog, check_log
from heads.runs.entries import Recorder, log_lines
from heads.runs.judge_options import JudgeOptions
from heads.runs.run import Run, load_run
from heads.runs.scanning import judge_pictures, write_verdicts
from heads.verdicts.points import Guarantee, OperatingPoint
from tests.heads.synthetic import train_run, write_cache

PROMISE = Guarantee("fpr", 0.05, 0.95, "row", 100, 1, 0.047, 0.8, 0.7, 0.9, "d", "calibrating")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("entries") / "cache", captions={"train": 12, "valid": 8})


@pytest.fixture(scope="module", params=["image", "concat"])
def run(request: pytest.FixtureRequest, store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = train_run(store, tmp_path_factory.mktemp("entries") / "run", head="linear", fusion=request.param)
    rules = replace(run.record.verdicts, points=(OperatingPoint("strict", "clean", 0.9, 0.9, (PROMISE,)),))
    return replace(run, record=replace(run.record, verdicts=rules))


def of_content(run: Run, caption: str | None = None, **conditions: Any) -> dict[str, Any]:
    said = {"verdict": "ai", "p_ai": 0.9, "p_ai_raw": 0.8, "views": {"clean": 0.8}, "probabilities": {}}
    return Recorder.of(run, "detect", **conditions).of_content(Path("caf\udce9.png"), b"bytes", caption, said)


@pytest.mark.slow
def test_an_entry_says_of_which_bytes_by_what_under_which_rule_and_when(run: Run) -> None:
    entry = of_content(run, "a caption", point="strict", prior=0.1)
    assert abs(datetime.fromisoformat(entry.pop("time")) - datetime.now().astimezone()) < timedelta(minutes=1)
    takes_text = "text" in run.selections
    assert entry == {
        "format": 2,
        "kind": "heads-verdict",
        "path": r"caf\udce9.png",
        "image_sha256": hashlib.sha256(b"bytes").hexdigest(),
        "caption_sha256": hashlib.sha256(b"a caption").hexdigest() if takes_text else None,
        "verdict": "ai",
        "reason": None,
        "p_ai": 0.9,
        "p_ai_raw": 0.8,
        "views": {"clean": 0.8},
        "novelty": None,
        "neighbours": None,
        "error": None,
        "stage": None,
        "command": "detect",
        "point": run.points["strict"].to_json(),
        "prior": 0.1,
        "run_digest": run.record.digest,
        "encoders": {
            modality: {"fingerprint": chosen.fingerprint, "view": "clean", "outputs": list(chosen.outputs)}
            for modality, chosen in run.selections.items()
        },
        "versions": {"python": platform.python_version(), "featcache": featcache.__version__},
    }
    assert entry["point"]["guarantees"][0]["bound"] == 0.047


def test_the_page_has_the_keys_of_an_entry(run: Run) -> None:
    page = (Path(__file__).parents[3] / "docs" / "handing-over.md").read_text("utf-8")
    cells = re.findall(r"^\| (`.*?) \|", page, re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(["previous", *of_content(run)])


def test_without_a_wish_the_rule_is_the_runs_own(run: Run) -> None:
    entry = of_content(run)
    assert entry["point"]["name"] == "balanced" and entry["prior"] == run.record.verdicts.maps.prior
    assert entry["caption_sha256"] is None


def test_the_digest_of_a_run_is_that_of_its_record(store: FeatureStore, tmp_path: Path) -> None:
    train_run(store, tmp_path / "run", head="linear")
    expected = hashlib.sha256((tmp_path / "run" / "run.json").read_bytes()).hexdigest()
    assert load_run(tmp_path / "run").record.digest == expected


def test_a_scan_logs_every_line_of_its_table(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    # Of the second row nothing could be read: it has no key.
    keys = np.where(np.arange(len(store))[:, None] == 1, np.uint8(0), store.samples.image_key)
    seen = FeatureStore(store.cache, replace(store.samples, image_key=keys))
    pictures = ExtractedPictures(seen, {1: RowFault("read", "gone")}, (Gap("/d/a.png", "not there"),), 0)
    log = ChainedLog(tmp_path / "log.jsonl", told=lambda _: None)
    append = log_lines(Recorder.of(run, "scan", point="strict"), pictures, log)
    write_verdicts(run, pictures, tmp_path / "v.jsonl", options=JudgeOptions("strict"), log=append)
    entries, lines = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("log.jsonl", "v.jsonl")
    )
    assert check_log(tmp_path / "log.jsonl").n == len(lines) == len(store) + 1
    for name in ("path", "verdict", "p_ai", "p_ai_raw", "novelty", "error", "stage"):
        assert [entry[name] for entry in entries] == [line[name] for line in lines]
    digests = [None if row == 1 else key.tobytes().hex() for row, key in enumerate(store.samples.image_key)]
    assert [entry["image_sha256"] for entry in entries] == [*digests, None]
    texts = [key.tobytes().hex() if "text" in run.selections else None for key in store.samples.text_key]
    assert [entry["caption_sha256"] for entry in entries] == [*texts, None]
    assert {entry["point"]["name"] for entry in entries} == {"strict"}


def test_judging_pictures_logs_what_writing_their_verdicts_logs(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    pictures, logged = ExtractedPictures(store, {}, (Gap("/d/a.png", "not there"),), 0), []
    for name in ("written", "judged"):
        log = ChainedLog(tmp_path / f"{name}.jsonl", told=lambda _: None)
        append = log_lines(Recorder.of(run, "scan"), pictures, log)
        if name == "written":
            write_verdicts(run, pictures, tmp_path / "v.jsonl", log=append)
        else:
            assert not any("views" in line for block in judge_pictures(run, pictures, log=append) for line in block)
        entries = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        logged.append([entry | {"time": None, "previous": None} for entry in entries])
    assert logged[0] == logged[1]
    assert [entry["views"] for entry in logged[1]] == [{"clean": e["p_ai_raw"]} for e in logged[1][:-1]] + [None]
