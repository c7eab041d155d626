"""Laws of the answer files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache import FeatureStore
from heads.errors import HeadsError
from heads.runs.predictions import (
    CT2_CLASSES,
    Predictions,
    check_table_format,
    predict,
    write_ct2,
    write_table,
)
from heads.runs.run import Run
from heads.verdicts.judging import Judgement
from heads.verdicts.points import OperatingPoint
from tests.heads.synthetic import GENERATORS, Row, train_run, write_cache


def drop_pictures(rows: list[Row]) -> None:
    test = [row for row in rows if row.split == "test"]
    test[0].picture = test[5].picture = None
    test[1].sample_id = '=cmd|"x", \n1'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_cache(tmp_path_factory.mktemp("predict") / "cache", edit=drop_pictures)


@pytest.fixture(scope="module")
def run(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_run(store, tmp_path_factory.mktemp("predict") / "run", head="linear")


@pytest.fixture(scope="module")
def found(run: Run, store: FeatureStore) -> Predictions:
    return predict(run, store, "test")


def test_every_row_gets_a_line_and_refused_ones_no_answer(found: Predictions) -> None:
    columns = found.table()
    makers = [f"p_{name}" for name in GENERATORS]
    assert list(columns) == ["sample_id", "p_ai", "p_ai_raw", "pred_a", "pred_b", "reason", *makers, "novelty"]
    assert {len(values) for values in columns.values()} == {96}
    assert found.n_refused == 2
    for name in set(columns) - {"sample_id", "reason"}:
        assert [i for i, value in enumerate(columns[name]) if value is None] == [0, 5]


def test_probabilities_add_up_and_the_verdict_follows_the_threshold(run: Run, found: Predictions) -> None:
    said = found.judgement
    assert len(said) == found.answered.sum()
    assert np.allclose(said.proba.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(said.proba[:, 1:].sum(axis=1), said.p_ai, atol=1e-6)
    assert ((said.verdict > 0) == (said.raw.astype(np.float64) >= run.threshold)).all()
    ai = said.verdict > 0
    assert (said.verdict[ai] == 1 + said.proba[ai, 1:].argmax(axis=1)).all()


def test_a_prior_moves_probabilities_and_no_verdict(run: Run, store: FeatureStore, found: Predictions) -> None:
    rare = predict(run, store, "test", prior=0.01).judgement
    assert (rare.p_ai < found.judgement.p_ai).all() and (rare.raw == found.judgement.raw).all()
    assert (rare.verdict == found.judgement.verdict).all()


def test_a_point_that_abstains_is_no_answer_of_the_competition(found: Predictions, tmp_path: Path) -> None:
    unsure = replace(found, point=OperatingPoint("both", "clean", 0.9, 0.1))
    with pytest.raises(HeadsError, match="operating point 'both' leaves rows unsure"):
        write_ct2(unsure, tmp_path / "answer.json")
    assert not (tmp_path / "answer.json").exists()


def test_default_is_every_row_of_the_store(run: Run, store: FeatureStore) -> None:
    assert len(predict(run, store)) == len(store)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_three_formats_say_the_same(found: Predictions, tmp_path: Path) -> None:
    for ending in ("csv", "jsonl", "parquet"):
        write_table(found, tmp_path / f"new/p.{ending}")
    columns = found.table()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert [json.loads(line) for line in (tmp_path / "new/p.jsonl").read_text().split("\n")[:-1]] == rows
    as_text = [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    assert read_csv(tmp_path / "new/p.csv") == as_text
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "new/p.parquet").to_pylist() == rows
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["p.csv", "p.jsonl", "p.parquet"]


def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match=r"ends in '\.xls', expected one of \.csv, \.jsonl, \.parquet"):
        check_table_format(tmp_path / "p.xls")


def test_parquet_without_pyarrow_says_what_to_install(
    found: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HeadsError, match=r"pip install 'featcache\[parquet\]'"):
        write_table(found, tmp_path / "p.parquet")


def test_a_file_that_cannot_be_written_is_one_clear_line(found: Predictions, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for place, why in (("folder.csv", "it is a folder, expected a file or nothing there"), ("x.csv/y.csv", "File")):
        (tmp_path / "x.csv").write_text("x")
        with pytest.raises(HeadsError, match=rf"cannot write {tmp_path / place}: {why}"):
            write_table(found, tmp_path / place)
    assert {path.name for path in tmp_path.iterdir()} == {"folder.csv", "x.csv"}


def test_only_a_file_is_replaced(found: Predictions, tmp_path: Path) -> None:
    write_table(found, tmp_path / "p.csv")
    (tmp_path / "link.csv").symlink_to("p.csv")
    os.mkfifo(tmp_path / "fifo.csv")
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name, what in (("link.csv", "a link"), ("fifo.csv", "no regular file")):
        with pytest.raises(HeadsError, match=f"it is {what}"):
            write_table(found, tmp_path / name)
        with pytest.raises(HeadsError, match=f"it is {what}"):
            write_ct2(found, tmp_path / name)
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before
    write_table(found, tmp_path / "p.csv")
    assert (tmp_path / "link.csv").is_symlink()


def test_what_a_killed_command_left_of_a_table_goes_with_the_next(found: Predictions, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from heads.files.folder import write_file\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_file(Path(sys.argv[1]), b'half')"
    )
    out = tmp_path / "p.csv"
    done = subprocess.run([sys.executable, "-c", code, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    write_table(found, out)
    assert list(tmp_path.iterdir()) == [out]


def numbered(rows: list[Row]) -> None:
    for number, row in enumerate(rows):
        row.sample_id = str(len(rows) - number)


def test_ct2_answers_are_mapped_by_name(tmp_path: Path) -> None:
    classes = ("real", "sd3", "sd21", "sdxl", "dalle3", "midjourney")  # the order of the competition's tables
    store = write_cache(tmp_path / "cache", classes=classes, edit=numbered)
    found = predict(train_run(store, tmp_path / "run", head="linear"), store, "test")
    write_ct2(found, tmp_path / "answer.json")
    answers = json.loads((tmp_path / "answer.json").read_text())
    assert [answer["index"] for answer in answers] == sorted(int(name) for name in found.sample_id)
    names = dict(zip(found.sample_id.tolist(), found.table()["pred_b"], strict=True))
    for answer in answers:
        assert answer["Label_B"] == CT2_CLASSES[names[str(answer["index"])]]
        assert answer["Label_A"] == int(answer["Label_B"] > 0)


def test_ct2_leaves_out_rows_without_an_answer(found: Predictions, tmp_path: Path) -> None:
    write_ct2(found, tmp_path / "answer.json")
    assert len(json.loads((tmp_path / "answer.json").read_text())) == 94


def answer(proba: NDArray[np.float64], *generators: str) -> Predictions:
    """What a head with these generators says of rows: AI where that is likelier."""
    p_ai = (1 - proba[:, 0]).astype(np.float32)
    codes = np.where(p_ai >= 0.5, 1 + proba[:, 1:].argmax(axis=1), 0)
    said = Judgement(p_ai, p_ai, proba.astype(np.float32), codes, ("real", *generators))
    names = np.array([str(number) for number in range(len(proba))])
    return Predictions(names, np.full(len(proba), True), said, OperatingPoint("balanced", "clean", 0.5, 0.5))


def test_ct2_knows_the_common_spellings_and_refuses_other_classes(tmp_path: Path) -> None:
    answers = answer(np.array([[0.1, 0.9, 0.0]]), "DALL-E 3", "SD 2.1")
    write_ct2(answers, tmp_path / "answer.json")
    assert json.loads((tmp_path / "answer.json").read_text()) == [{"index": 0, "Label_A": 1, "Label_B": 4}]
    for stranger in ("glide", "ai"):
        with pytest.raises(HeadsError, match=f"class '{stranger}' is none of the CT2 competition's"):
            write_ct2(answer(np.array([[0.1, 0.9, 0.0]]), stranger, "sd3"), tmp_path / "answer2.json")
    assert not (tmp_path / "answer2.json").exists()


def test_a_head_without_generators_predicts_real_or_ai(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", generators=("sdxl",))
    found = predict(train_run(store, tmp_path / "run", head="linear"), store, "test")
    assert list(found.table()) == ["sample_id", "p_ai", "p_ai_raw", "pred_a", "pred_b", "reason", "novelty"]
    assert set(found.table()["pred_b"]) <= {"real", "ai"}


@pytest.mark.parametrize(
    ("generators", "columns"),
    [
        (("ai", "sdxl"), ["p_generator_ai", "p_sdxl"]),
        (("ai", "generator_ai"), ["p_generator_ai_", "p_generator_ai"]),
        (("red_a", "red_b"), ["p_red_a", "p_red_b"]),
        (("AI", "sdxl"), ["p_AI", "p_sdxl"]),
    ],
)
def test_no_class_takes_the_place_of_another_column(generators: tuple[str, ...], columns: list[str]) -> None:
    n = len(generators)
    found = answer(np.array([[0.7, *[0.3 / n] * n], [0.4, 0.6, *[0.0] * (n - 1)]]), *generators)
    table = found.table()
    assert list(table) == ["sample_id", "p_ai", "p_ai_raw", "pred_a", "pred_b", "reason", *columns]
    assert table["p_ai"] == found.judgement.p_ai.tolist() and table["pred_b"] == ["real", generators[0]]
    for code, column in enumerate(columns, start=1):
        assert table[column] == found.judgement.proba[:, code].tolist()


def test_a_run_whose_class_is_called_ai_predicts(tmp_path: Path) -> None:
    store = write_cache(tmp_path / "cache", generators=("ai", "sdxl"))
    found = predict(train_run(store, tmp_path / "run", head="linear"), store, "test").table()
    rows = zip(*(found[name] for name in ("p_ai", "p_generator_ai", "p_sdxl")), strict=True)
    assert all(abs(p_ai - one - other) < 1e-6 for p_ai, one, other in rows)
    assert max(found["p_ai"]) > max(found["p_generator_ai"])
