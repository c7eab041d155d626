"""Laws of ``heads calibrate``, and of budgets and folds in ``heads train``: promises are printed, or refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import heads.runs.detection
from featcache.synthetic import SyntheticOutput, SyntheticView, write_synthetic
from heads.commands import register
from heads.commands.guarantee_lines import print_promises
from heads.errors import HeadsError
from heads.runs.run import load_run
from heads.verdicts.points import Guarantee, OperatingPoint, OriginBound
from tests.heads.synthetic import Row, train_run, write_cache

app = typer.Typer()
register(app)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "80"})


def ok(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line for line in result.stdout.splitlines() if not line.startswith(("Next:", "Saved", "Wrote", "{"))]
    assert "--json" in words or all(len(line) <= 80 for line in lines)
    return result.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``cache``, the run ``run``, and ``strict``, which is that with a point and sets."""
    folder = tmp_path_factory.mktemp("project")
    changes: dict[str, Any] = {"captions": {"train": 20, "valid": 130, "test": 10}, "signal": 0.5}
    store = write_cache(folder / "cache", generators=("sdxl", "dalle3"), modalities=("image",), **changes)
    train_run(store, folder / "run", head="linear")
    words = ("--max-fpr", 0.05, "--max-fnr", 0.05, "--coverage", 0.9, "--out", folder / "strict")
    (folder / "told.txt").write_text(ok("calibrate", folder / "run", folder / "cache", *words))
    return folder


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_what_is_promised_is_printed() -> None:
    told = " ".join(Path("told.txt").read_text().split())
    assert "Operating point fpr-0.05-fnr-0.05, view clean: AI from a raw P(AI) of 0." in told
    like = "pictures like those of data set synthetic are called"
    assert "unsure between" in told and f"At most 5 % of real {like} AI, with 95 % confidence" in told
    assert f"At most 5 % of AI {like} real" in told and "calibrating of synthetic 65" in told
    assert "least n" in told and " 59 " in told and "Expected: " in told
    assert "of AI pictures by sdxl (65), dalle3 (65) each, at least 90 % have their generator in the set" in told
    sets = load_run(Path("strict")).record.verdicts.sets
    assert sets is not None and "(n): rows, calibrating of synthetic; on average a set has " in told
    size = float(told.partition("a set has ")[2].split()[0])
    assert 1 <= size <= 2 and "Next: heads evaluate" in told


def test_json_names_the_point_and_what_it_needs(tmp_path: Path) -> None:
    found = json.loads(ok("calibrate", "run", "cache", "--max-fpr", 0.1, "--out", tmp_path / "r", "--json"))
    assert (found["n"], found["n_refused"], found["n_shared"], found["note"], found["sets"]) == (195, 0, 0, None, None)
    assert found["point"]["least_n"] == {"fpr": 29} and found["point"]["guarantees"][0]["bound"] <= 0.1
    assert load_run(tmp_path / "r").point().ai_from == found["point"]["ai_from"]


def test_predictions_of_a_calibrated_run_may_be_unsure_and_name_sets(tmp_path: Path) -> None:
    ok("predict", "strict", "cache", "--split", "test", "--out", tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    point = load_run(Path("strict")).point()
    assert point.abstains and {row["pred_a"] for row in rows} <= {"real", "ai", "unsure"}
    for row in rows:
        is_between = point.real_below <= float(row["p_ai_raw"]) < point.ai_from
        assert is_between == (row["pred_a"] == "unsure")
    assert {row["set_b"] for row in rows} <= {"sdxl", "dalle3", "sdxl|dalle3"}
    told = json.loads(ok("predict", "strict", "cache", "--prior", 0.01, "--out", tmp_path / "r.csv", "--json"))
    maps = load_run(Path("strict")).record.verdicts.maps
    assert told["threshold_p_ai"] == maps.p_ai(told["threshold"], prior=0.01) < told["threshold"]
    ok("predict", "run", "cache", "--split", "test", "--out", tmp_path / "q.csv")
    assert "set_b" not in (tmp_path / "q.csv").read_text().splitlines()[0]
    refused = call("predict", "strict", "cache", "--format", "ct2", "--out", tmp_path / "a.json")
    assert isinstance(refused.exception, HeadsError)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-fpr", 0.01), "needs 299 real rows"),
        (("--max-fpr", 0.05, "--by", "origin"), "--by origin needs a column origin"),
        (("--max-fpr", 0.05, "--view", "jpeg:30"), " --views jpeg:30 --cache "),
        ((), "nothing to calibrate"),
        (("--max-fpr", 0.05, "--name", ""), "--name is empty"),
        (("--coverage", 0.9, "--confidence", 0.9), "--confidence 0.9 is of a budget, and there is none"),
    ],
)
def test_what_cannot_be_promised_leaves_no_run(words: tuple[object, ...], told: str, tmp_path: Path) -> None:
    result = call("calibrate", "run", "cache", *words, "--out", tmp_path / "r")
    assert result.exit_code == 1 and told in str(result.exception) and not (tmp_path / "r").exists()
    assert call("calibrate", "run", "cache", "--max-fpr", 0.05, "--by", "size").exit_code == 2


def test_one_threshold_for_two_budgets_says_what_its_bounds_are_of(tmp_path: Path) -> None:
    told = ok("calibrate", "run", "cache", "--max-fpr", 0.4, "--max-fnr", 0.4, "--out", tmp_path / "r")
    assert not load_run(tmp_path / "r").point().abstains
    assert "One threshold keeps both" in told and "One threshold" not in Path("told.txt").read_text()


def test_scores_of_another_detector_are_bounded_on_the_cache_that_is_named(tmp_path: Path) -> None:
    ok("predict", "run", "cache", "--out", tmp_path / "p.csv")
    words = ("--scores", f"other={tmp_path / 'p.csv'}", "--max-fpr", 0.05)
    assert "valid of synthetic 130" in " ".join(ok("calibrate", "cache", *words).split())
    assert "nowhere" in str(call("calibrate", "nowhere", *words).exception)
    for more in (("cache",), ("--out", "x"), ("--coverage", 0.9)):
        assert "without RUN" in str(call("calibrate", "run", *more, *words).exception)


def test_the_threshold_of_scores_is_printed_as_the_number_that_keeps_the_budget(tmp_path: Path) -> None:
    ok("predict", "run", "cache", "--out", tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        ids = [row["sample_id"] for row in csv.DictReader(file)]
    for score in (0.7, 1e-9):
        (tmp_path / "even.csv").write_text("sample_id,p_ai\n" + "".join(f"{name},{score}\n" for name in ids))
        told = " ".join(ok("calibrate", "cache", "--scores", f"x={tmp_path / 'even.csv'}", "--max-fpr", 0.05).split())
        printed = float(told.partition("AI where p_ai >= ")[2].split()[0])
        assert printed == np.nextafter(score, 1)


def rename(rows: list[Row]) -> None:
    for row in rows:
        row.group, row.caption, row.picture = f"other-{row.group}", f"other {row.caption}", row.sample_id.encode()


@pytest.mark.parametrize(
    ("words", "of_other", "proposed"),
    [
        (("cache", "--dataset", "synthetic"), 0, "--cache cache --split test --dataset synthetic"),
        (("cache",), 0, "--cache cache --split test"),
        (("{other}",), 9, "--cache {other} --split test"),
        (("{other}",), 0, "--cache {project}/cache --split test"),
    ],
)
def test_what_is_proposed_is_not_to_look_at_the_rows_of_other_data_once_more(
    words: tuple[str, ...], of_other: int, proposed: str, project: Path, tmp_path: Path
) -> None:
    folders = {"other": str(tmp_path / "other"), "project": str(project)}
    if "{other}" in words:
        captions = {"train": 1, "valid": 70, **({"test": of_other} if of_other else {})}
        write_cache(tmp_path / "other", generators=("sdxl",), modalities=("image",), captions=captions, edit=rename)
    given = [word.format(**folders) for word in words]
    told = ok("calibrate", "run", *given, "--max-fpr", 0.1, "--out", tmp_path / "r")
    assert told.splitlines()[-1] == f"Next: heads evaluate {tmp_path / 'r'} {proposed.format(**folders)}"


class Zeros:
    """Stands for an encoder: of every picture the same vector."""

    def encode(self, content: bytes) -> Any:
        return np.zeros(4, np.float32)


def test_a_point_of_another_view_says_where_it_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, views = {"image": {"pooled": SyntheticOutput(4)}}, {"jpeg:30": SyntheticView(0.5)}
    store = write_synthetic(tmp_path / "c", captions={"train": 9, "valid": 60}, outputs=outputs, views=views).store
    ok("train", store.path, "--head", "linear", "--fusion", "image", "--out", tmp_path / "r")
    words = ("calibrate", tmp_path / "r", store.path, "--max-fpr", 0.2, "--out")
    told = call(*words, tmp_path / "s", "--view", "jpeg:30")
    assert "look at view clean, of which this point promises nothing" in " ".join(told.stderr.split())
    assert "promises nothing" not in call(*words, tmp_path / "t").stderr
    monkeypatch.setattr(heads.runs.detection, "load_encoder", lambda *_, **__: Zeros())
    (tmp_path / "x.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)  # a path that is longer than a line is not folded
    judge, note = ("--image", "x.png"), "this was promised for view jpeg:30, not for clean"
    assert note in ok("detect", tmp_path / "s", *judge)
    assert json.loads(ok("detect", tmp_path / "s", *judge, "--json"))["note"] == note
    assert json.loads(ok("detect", tmp_path / "t", *judge, "--json"))["note"] is None


@pytest.mark.parametrize(
    ("origins", "where", "told"),
    [
        (
            (OriginBound("camera", 80, 0, 0.045),),
            {},
            "like those of each origin of data set mine are called AI",
        ),
        (
            (),
            {"dataset": "mine", "split": "test"},
            "like these 80.0 % are called AI (70.0–90.0 %); “real” says:",
        ),
        ((), {"dataset": "mine", "split": "valid"}, "Note: some of these are the rows that it was calibrated on"),
        ((), {"dataset": "other", "split": "valid"}, "like those of data set mine, not for those of other"),
    ],
)
def test_a_promise_says_of_what_it_is_told(
    origins: tuple[OriginBound, ...], where: dict[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ("mine", "calibrating", origins, "if nobody looked")
    promise = Guarantee("fpr", 0.05, 0.95, "row", 80, 0, 0.045, 0.8, 0.7, 0.9, *made)
    print_promises(OperatingPoint("p", "clean", 0.8, 0.8, (promise,)), ["clean"], **where)
    printed = " ".join(capsys.readouterr().out.split())
    assert told in printed and "confidence, if nobody looked" in printed
    assert ("Note" in printed) == ("Note" in told or "not for" in told)


def test_train_takes_a_budget(tmp_path: Path) -> None:
    words = ("train", "cache", "--head", "linear", "--fusion", "image", "--out", tmp_path / "r")
    told = ok(*words, "--max-fpr", 0.05)
    assert "At most 5 % of real pictures like those of data set synthetic" in " ".join(told.split())
    assert "Operating point balanced: AI if raw P(AI) ≥ 0." in told and "fpr-0.05 decides; --point balanced" in told
    run, calibrated = load_run(tmp_path / "r"), load_run(Path("strict"))
    assert run.point().name == "fpr-0.05" and run.point().ai_from == calibrated.point().ai_from
    refused = call(*words, "--overwrite", "--max-fpr", 0.01)
    assert "needs 299 real rows" in str(refused.exception) and load_run(tmp_path / "r").point() == run.point()
    both = call(*words, "--overwrite", "--max-fpr", 0.05, "--folds", 2)
    assert "exclude each other" in str(both.exception)


@pytest.mark.slow
def test_train_takes_folds(tmp_path: Path) -> None:
    words = ("train", "cache", "--head", "linear", "--fusion", "image", "--folds", 2)
    assert "Cross-fitted on 60 rows in 20 groups: 2 heads" in ok(*words, "--out", tmp_path / "r")
    found = json.loads(ok(*words, "--out", tmp_path / "s", "--json"))
    assert found["folds"]["metrics"]["a"]["auc"]["low"] > 0.5
    new = ("calibrate", tmp_path / "r", "cache", "--max-fpr", 0.05, "--out", tmp_path / "t")
    ok(*new)
    assert (tmp_path / "t" / "folds.safetensors").read_bytes() == (tmp_path / "r" / "folds.safetensors").read_bytes()
