"""Laws of a scan: a line a picture, the verdict of its row in a cache, or the reason why it has none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads.runs.scan_lines
import heads.runs.scanning
from featcache import ExtractedPictures, FeatureStore, Manifest
from featcache.dataset.readers.left_out import Gap
from featcache.dataset.sample_list import SampleList
from featcache.extraction.pictures import RowFault
from featcache.synthetic import SyntheticView, write_synthetic
from heads.data.features import IntArray
from heads.data.row_source import StoredRows
from heads.errors import HeadsError
from heads.runs.judge_options import JudgeOptions
from heads.runs.neighbours import find_training_rows
from heads.runs.predictions import predict
from heads.runs.run import Run
from heads.runs.scanning import Scan, encode_pictures, judge_pictures, write_verdicts
from heads.runs.set_statement import set_state, tell_set
from heads.runs.stored_views import readable_views, stored_views
from heads.verdicts.sets import GeneratorSets
from tests.heads.synthetic import GENERATORS, train_run, write_cache

FAULTS = {0: RowFault("decode", "no\npicture"), 3: RowFault("read", "gone"), 200: RowFault("decode", "half")}
MAKERS = [f"p_{name}" for name in GENERATORS]
COLUMNS = ["path", "sample_id", "verdict", "reason", "p_ai", "p_ai_raw", *MAKERS, "novelty", "error", "stage"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("scan") / "cache")


@pytest.fixture(scope="module", params=["image", "concat"])
def run(request: pytest.FixtureRequest, store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("scan") / "run", head="linear", fusion=request.param)


def scan(run: Run, pictures: ExtractedPictures, out: Path) -> tuple[Scan, list[dict[str, Any]]]:
    done = write_verdicts(run, pictures, out / "v.jsonl", overwrite=True)
    return done, [json.loads(line) for line in (out / "v.jsonl").read_text().splitlines()]


def test_a_verdict_is_that_of_the_row_in_a_cache(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    done, lines = scan(run, ExtractedPictures(store, {}, (), 0), tmp_path)
    columns = predict(run, store).table()
    assert [list(line) for line in lines[:1]] == [COLUMNS]
    for own, other in (("sample_id", "sample_id"), ("verdict", "pred_a")):
        assert [line[own] for line in lines] == columns[other]
    for name in ("p_ai", *COLUMNS[5:-2]):
        assert np.allclose([line[name] for line in lines], columns[name], atol=1e-6)
    assert {(line["error"], line["stage"]) for line in lines} == {(None, None)}
    n_ai = columns["pred_a"].count("ai")
    n_unlike = int(predict(run, store).judgement.is_unlike.sum())
    assert done == Scan(len(store) - n_ai, n_ai, 0, n_unlike, done.statement, {}, None) and len(done) == len(store)
    assert done.statement is not None and done.statement.n == len(store)


def test_of_what_no_set_is_stated_it_is_said_why(run: Run) -> None:
    told = tell_set(run, None, 9)
    assert told["statement"] is None and told["statement_note"] == "9 judged, 10 are needed"
    assert "of an earlier version" in tell_set(replace(run, likeness=None), None, 99)["statement_note"]
    assert "lack two groups" in tell_set(run, None, 99)["statement_note"]
    assert set_state(None, None) is None


def test_where_a_run_has_sets_each_line_has_one(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    sets = GeneratorSets(0.9, (0.1,) * len(GENERATORS), (9,) * len(GENERATORS), "row", "clean", "d", "valid")
    record = replace(run.record, verdicts=replace(run.record.verdicts, sets=sets))
    with_sets = replace(run, record=record)
    _, lines = scan(with_sets, ExtractedPictures(store, FAULTS, (), 0), tmp_path)
    assert list(lines[0]) == [*COLUMNS[:6], "set_b", *COLUMNS[6:]] and lines[0]["set_b"] is None
    columns = predict(with_sets, store).table()
    assert [line["set_b"] for line in lines if line["verdict"]] == [
        names for row, names in enumerate(columns["set_b"]) if row not in FAULTS
    ]
    assert any("|" in line["set_b"] for line in lines if line["verdict"])


def test_a_line_has_either_a_verdict_or_an_error(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    gap = Gap("/d/caf\udce9.png", "there is no file 'x'")
    pictures = ExtractedPictures(store, FAULTS, (gap,), 0)
    done, lines = scan(run, pictures, tmp_path)
    assert len(lines) == len(store) + 1 == len(done)
    for row, line in enumerate(lines[:-1]):
        fault = FAULTS.get(row)
        assert (line["error"], line["stage"]) == ((fault.message, fault.stage) if fault else (None, None))
        assert all((line[name] is None) == (fault is not None) for name in ("verdict", *COLUMNS[4:-2]))
        assert line["sample_id"] == store.sample_id[row]
    told = {"path": r"/d/caf\udce9.png", "error": "there is no file 'x'", "stage": "data"}
    assert lines[-1] == dict.fromkeys(COLUMNS) | told
    assert pictures.complete.tolist() == [row for row in range(len(store)) if row not in FAULTS]
    assert done.failed == {"data": 1, "decode": 2, "read": 1} and done.n_failed == 4
    assert done.first == ("", "no\npicture")


def test_the_size_of_blocks_changes_nothing(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = ExtractedPictures(store, FAULTS, (), 0)
    whole = scan(run, pictures, tmp_path)
    monkeypatch.setattr(heads.runs.scan_lines, "_FEWEST_ROWS", 1)
    monkeypatch.setattr(heads.runs.scan_lines, "_MOST_ROWS", 7)
    done, lines = scan(run, pictures, tmp_path)
    assert done == whole[0]
    for line, other in zip(lines, whole[1], strict=True):
        assert line == pytest.approx(other, abs=1e-6)


def test_other_views_and_neighbours_have_columns_and_stand_in_a_log_by_name(tmp_path: Path) -> None:
    names = {"train": 12, "valid": 8, "test": 4}
    views = {"jpeg:30": SyntheticView(noise=0.5)}
    store = write_synthetic(tmp_path / "cache", captions=names, views=views).store
    run = train_run(store, tmp_path / "run", head="linear")
    logged: list[Any] = []
    options = JudgeOptions(training=find_training_rows(run, store), n_neighbours=2)
    pictures = ExtractedPictures(store, {1: FAULTS[3]}, (), 0)
    write_verdicts(run, pictures, tmp_path / "v.jsonl", options=options, log=logged.extend)
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    expected = predict(run.in_view("jpeg:30"), store).table()["p_ai_raw"]
    for row, (line, entry) in enumerate(zip(lines, logged, strict=True)):
        if row == 1:
            assert line["p_ai_raw_jpeg:30"] is None and (entry["views"], entry["neighbours"]) == (None, None)
            continue
        assert line["p_ai_raw_jpeg:30"] == pytest.approx(expected[row], abs=1e-6)
        assert entry["views"] == {"clean": line["p_ai_raw"], "jpeg:30": line["p_ai_raw_jpeg:30"]}
        for place, near in enumerate(entry["neighbours"], start=1):
            own = [line[f"neighbour_{place}{what}"] for what in ("", "_label", "_distance")]
            assert own == [near["sample_id"], near["label"], near["distance"]]
    assert lines[0]["neighbour_1"] == lines[0]["sample_id"] and lines[0]["neighbour_2_distance"] > 0
    assert [*judge_pictures(run, pictures, options=options)] == [lines]
    few = replace(run.selections["image"], outputs=("pooled", "none"), widths=(24, 1))
    other = replace(
        run, record=replace(run.record, producers={"image": replace(run.record.producers["image"], selection=few)})
    )
    assert readable_views(other, store) == ["clean"] and stored_views(other, store) == ["clean", "jpeg:30"]


def test_where_nothing_can_be_judged_no_vectors_are_looked_up(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FeatureStore, "rows")
    faults = {row: RowFault("decode", "bad") for row in range(len(store))}
    done, lines = scan(run, ExtractedPictures(store, faults, (), 0), tmp_path)
    assert done.failed == {"decode": len(store)} and {line["verdict"] for line in lines} == {None}


def test_a_vector_that_is_not_finite_is_no_verdict(
    run: Run, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No writer of ours stores one, but a cache may come from somebody else.
    read = StoredRows.read

    def odd(rows: StoredRows, numbers: IntArray) -> Any:
        X = read(rows, numbers)
        X[2, 1] = np.inf
        return X

    monkeypatch.setattr(StoredRows, "read", odd)
    done, lines = scan(run, ExtractedPictures(store, {}, (), 0), tmp_path)
    assert done.failed == {"encode": 1} and lines[2]["stage"] == "encode" and "not finite" in lines[2]["error"]
    assert all(line["verdict"] for row, line in enumerate(lines) if row != 2)


def test_a_head_without_generators_has_no_columns_of_them(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", generators=("sdxl",))
    _, lines = scan(train_run(store, tmp_path / "run", head="linear"), ExtractedPictures(store, {}, (), 0), tmp_path)
    assert list(lines[0]) == ["path", "sample_id", "verdict", "reason", "p_ai", "p_ai_raw", "novelty", "error", "stage"]


def test_a_generator_called_ai_takes_no_other_column(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", generators=("ai", "sdxl", "generator_ai"))
    _, lines = scan(train_run(store, tmp_path / "run", head="linear"), ExtractedPictures(store, {}, (), 0), tmp_path)
    assert list(lines[0])[4:-3] == ["p_ai", "p_ai_raw", "p_generator_ai_", "p_sdxl", "p_generator_ai"]
    for line in lines:
        parts = [line[name] for name in ("p_generator_ai_", "p_sdxl", "p_generator_ai")]
        assert sum(parts) == pytest.approx(line["p_ai"], abs=1e-6)


def test_what_is_there_is_refused_and_stays(run: Run, store: FeatureStore, tmp_path: Path) -> None:
    out = tmp_path / "v.csv"
    out.write_text("mine")
    with pytest.raises(HeadsError, match="exists already"):
        write_verdicts(run, ExtractedPictures(store, {}, (), 0), out)
    with pytest.raises(HeadsError, match=r"expected one of \.csv, \.jsonl, \.parquet$"):
        write_verdicts(run, ExtractedPictures(store, {}, (), 0), tmp_path / "v.txt")
    assert out.read_text() == "mine" and list(tmp_path.iterdir()) == [out]


def test_the_vectors_are_asked_of_the_producers_of_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(heads.runs.scanning, "extract_pictures", lambda *words, **how: asked.append((words, how)))
    photos = Manifest("photos", "/photos", SampleList.of([]), (), ())
    encode_pictures(run, photos, cache=Path("c"), models={"image": "m"}, device="cpu")
    (((data, cache, producers), how),) = asked
    assert (data, cache) == (photos, Path("c"))
    assert producers == [(p.selection, p.document) for p in run.record.producers.values()]
    assert how == {"models": {"image": "m"}, "device": "cpu", "progress": None}
