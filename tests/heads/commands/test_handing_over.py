"""Laws of logs and cards at the command line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import cli
import heads.runs.detection
from featcache import open_store
from heads.commands.card_text import build_card
from heads.commands.logs import open_log
from heads.errors import HeadsError
from heads.evaluation.report_file import ReportFile, ViewFigures
from heads.files.chained_log import check_log
from heads.runs.run import Run, load_run
from heads.statistics.intervals import Interval
from heads.verdicts.points import Guarantee, OperatingPoint, OriginBound
from heads.verdicts.record import VerdictRules
from tests.heads.synthetic import train_run, write_cache

EVIL = "# x\n[a](http://e.io) <b> `q` | ![d](e) ~~f~~ www.g.io $h$"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``cache`` and a run ``run``."""
    folder = tmp_path_factory.mktemp("project")
    train_run(
        write_cache(folder / "cache", captions={"train": 12, "valid": 8, "test": 4}), folder / "run", head="linear"
    )
    return folder


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.heads_app, [str(word) for word in words], env={"COLUMNS": "80"})


def ok(*words: object) -> Result:
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def fails(*words: object) -> str:
    result = call(*words)
    assert isinstance(result.exception, HeadsError), result.output
    return str(result.exception)


class Known:
    """Stands for an encoder: the vector of the n-th test row for a file that holds n."""

    def encode(self, content: bytes) -> Any:
        return open_store("cache").arrays("test").features["image"][int(content)]


def test_detect_logs_what_its_json_says_and_tells_of_a_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads.runs.detection, "load_encoder", lambda *_, **__: Known())
    log, picture = tmp_path / "log.jsonl", tmp_path / "1.png"
    picture.write_text("1")
    words = ("detect", "run", "--image", picture, "--neighbours", 2, "--log", log)
    assert "--neighbours K as well" in fails("detect", "run", "--image", picture, "--train-cache", "cache")
    first = json.loads(ok(*words, "--json").stdout)["entry"]
    with log.open("ab") as file:
        file.write(b'{"previous": "')
    assert "line 2 is no whole JSON object" in fails("verify-log", log)
    again = ok(*words)
    told = " ".join(again.stderr.split())
    assert f"the last line of {log} was torn: moved to {log}.torn-1" in told
    assert [near["sample_id"] for near in first["neighbours"]] == re.findall(r"train-\S+", again.stdout)
    assert {"previous": None, **first} == json.loads(log.read_text().splitlines()[0])
    found = json.loads(ok("verify-log", log, "--json").stdout)
    assert found == {"log": str(log), "n": 2, "digest": check_log(log).digest}
    assert ok("verify-log", log).stdout.splitlines()[1] == f"sha256 of the last: {found['digest']}"


def test_a_log_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("1")
    (tmp_path / "mine").write_text("mine\n")
    assert "is no log of heads" in fails("detect", "run", "--image", tmp_path / "1.png", "--log", tmp_path / "mine")
    with pytest.raises(HeadsError, match="is --out as well"):
        open_log(tmp_path / "v.jsonl", out=tmp_path / "x" / ".." / "v.jsonl")
    assert not (tmp_path / "v.jsonl").exists()


@pytest.mark.slow
def test_a_card_has_the_figures_of_its_run_and_of_no_other(project: Path, tmp_path: Path) -> None:
    train_run(open_store("cache"), tmp_path / "other", head="linear", seed=3)
    for run, name in (("run", "own.json"), (tmp_path / "other", "other.json")):
        ok("evaluate", run, "--cache", "cache", "--out", tmp_path / name)
    assert "other.json is not of run" in fails(
        "card", "run", "--out", tmp_path / "c", "--report", tmp_path / "other.json"
    )
    assert "own.json" in fails("card", tmp_path / "other", "--out", tmp_path / "c", "--report", tmp_path / "own.json")
    assert not (tmp_path / "c").exists()
    told = ok("card", "run", "--out", tmp_path / "c", "--report", tmp_path / "own.json")
    assert "State a licence" in told.stdout
    text = (tmp_path / "c" / "README.md").read_text()
    auc = json.loads((tmp_path / "own.json").read_text())["views"][0]["ranking"]["auc"]["estimate"]
    assert f"| AUC | {auc:.3f} |" in text and "Split test of synthetic, view clean: 24 rows in 4 groups" in text
    run = load_run(tmp_path / "c" / "run")
    assert run.record.digest in text and load_run(Path("run")).record.digest in text and str(project) not in text
    assert run.record.producers["image"].selection.fingerprint in text
    assert "sd21, sdxl, sd3, dalle3, midjourney" in text and "\n- Rows: 72 to learn from, 48 to select" in text
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == ["synthetic/image"]


def test_who_was_given_a_run_without_weights_is_told_to_name_them(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    ok("card", "run", "--out", tmp_path / "c")
    before, run = sorted(tmp_path.iterdir()), tmp_path / "c" / "run"
    scan = ("scan", run, tmp_path / "a.png", "--out", tmp_path / "v.csv", "--log", tmp_path / "log.jsonl")
    for words in (scan, ("detect", run, "--image", tmp_path / "a.png")):
        told = fails(*words)
        assert f"{run} does not say where the weights of its image encoder are" in told and "--image-model M" in told
    assert sorted(tmp_path.iterdir()) == before


def test_a_card_says_what_is_promised_and_means_names_as_they_are(tmp_path: Path) -> None:
    run = load_run(Path("run"))
    bounds = (OriginBound("", 80, 1, 0.049), OriginBound(EVIL, 90, 2, 0.048))
    promise = Guarantee("fpr", 0.05, 0.95, "group", 80, 1, 0.049, 0.7, 0.6, 0.8, EVIL, "valid", bounds, EVIL)
    rules = VerdictRules(points=(OperatingPoint("strict", EVIL, 0.9, 0.4, (promise,)),), point="strict")
    producer = run.record.producers["image"]
    document = {**producer.document, "source": {"model": EVIL, "revision": EVIL, "path": None}}
    record = replace(
        run.record,
        verdicts=rules,
        source={"cache": "c", "dataset": EVIL},
        producers={"image": replace(producer, document=document)},
        transductive=(EVIL,),
        created=EVIL,
    )
    interval = Interval(0.5, 0.4, 0.6, 0.95, 4)
    figures = {"decisions": {EVIL: interval}, "ranking": {"auc": interval}, "probabilities": {}}
    rates = {EVIL: {EVIL: {"n": 9, "n_groups": 4, "tpr": interval}}}
    kept = {"rate": "fpr", "budget": 0.01, "dataset": "photos", "n": 190, "n_errors": 3, "contradicts": False}
    kept["observed"] = Interval(0.016, 0.003, 0.047, 0.95, 190).to_dict()
    compared = {"dataset": EVIL, "rows": "valid", "view": "clean"}
    statement = {"n": 40, "distance": 0.2, "null": 0.1, "share": 0.5, "compared_with": compared}
    effect = {"auc": {"estimate": 0.9}, "dataset": "photos"}
    told = {"statement": statement, "effect_size": effect, "set_state": "scores-unlike"}
    views = (ViewFigures(EVIL, 9, 4, figures, rates),)
    report = ReportFile(None, EVIL, EVIL, EVIL, None, views, (kept,), told, 100)
    text = build_card(Run(run.path, record, run.head), title=EVIL, trained_digest="d" * 64, reports=[report])
    assert (
        "| strict | real pictures called AI | 5 % | 95 % | 80 groups | 1 | 4.90 % | 70.0 % (95 %: 60.0 – 80.0 %) |"
        in text
    )
    assert re.search(r"origin \(none\\?\); .*x", text)
    assert "3 of 190 real rows called AI (95 %: 0.3–4.7 %); 190 rows cannot contradict 1 %" in text
    assert "is of pictures like those of data set photos, not of those of \\# x" in text
    assert "- 100 rows are of a generator that this head does not know" in text and "AUC 0.900" in text
    assert "| 9 | 4 |  | 0.500 (0.400 – 0.600) |" in text and "These scores are not those of pictures like" in text
    assert "| 90 groups | 2 | 4.80 % |" in text and "strict decides" in text
    assert "Share of AI pictures that raw P(AI) stands for: unknown" in text
    # No line begins as a heading of others does, and no sign of theirs is without its backslash.
    assert sum(line.startswith("# ") for line in text.splitlines()) == 1
    assert not re.search(r"(?<!\\)(\[a|<b>|`q|!\[|~~f|\$h)|http:|www\.", text)
    assert yaml.safe_load(text.split("---\n")[1]) == {
        "license": "other",
        "license_name": "not-stated",
        "library_name": "featcache",
        "pipeline_tag": "image-classification",
        "tags": ["featcache", "ai-generated-image-detection"],
    }
