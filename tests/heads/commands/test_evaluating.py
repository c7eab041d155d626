"""Laws of evaluate and compare at the command line: what is printed, what is written, and what JSON had stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import cli
from featcache import open_store
from heads.errors import HeadsError
from tests.heads.synthetic import train_run, write_cache


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluating")
    store = write_cache(path / "cache", signal=0.8)
    (path / "table.csv").write_text("image\nx.png\n")
    (path / "v.csv").write_text("sample_id,p_ai\n" + "".join(f"{name},0.5\n" for name in store.sample_id[::2]))
    for name, fusion in (("image", "image"), ("text", "text")):
        train_run(store, path / name, head="linear", fusion=fusion)
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    yield
    for made in folder.glob("*.json"):
        made.unlink()


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.heads_app, [str(word) for word in words])


def ok(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def fails(*words: object) -> str:
    result = call(*words)
    assert isinstance(result.exception, HeadsError), result.output
    return str(result.exception)


def test_figures_stand_apart_and_fit_the_terminal() -> None:
    text = ok("evaluate", "image", "--by", "generator,origin")
    titles = ["Decisions", "Ranking", "Probabilities", "Errors of A where", "By generator", "By origin"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert all(len(line) <= 80 for line in text.splitlines()[1:-1])
    for name in ("false positive rate", "A+B F1 macro", "B calibration error", "midjourney"):
        assert name in text


def test_the_file_has_what_the_json_has_and_counts_at_every_threshold() -> None:
    printed = json.loads(ok("evaluate", "image", "--by", "size", "--out", "report.json", "--json"))
    written = json.loads(Path("report.json").read_text())
    assert "exists already" in fails("evaluate", "image", "--out", "report.json")
    ok("evaluate", "image", "--out", "report.json", "--overwrite")
    assert (written["format"], written["kind"]) == (1, "heads-evaluation")
    assert written["about"] == printed["about"]
    (view,) = written["views"]
    curves = view.pop("curves")
    assert [view] == printed["views"]
    assert {len(each["at_least"]) for each in curves["counts"]} == {len(curves["thresholds"])}
    assert view["decisions"]["fpr"].keys() == {"estimate", "low", "high", "level", "n_groups"}
    assert view["by"]["size"]["unknown"]["n"] == view["n"] == 96
    about = printed["about"]
    assert len(about["run_digest"]) == 64 and about["point"]["ai_from"] == printed["threshold"]
    assert (about["cache"], about["dataset"], about["split"]) == ("cache", "synthetic", "test")


def test_of_rows_that_made_heads_or_have_no_score_the_count_is_told() -> None:
    assert "rows of valid took part in making heads" in ok("evaluate", "image", "--split", "valid")
    assert "labelled rows have no score and are left out" in ok("evaluate", "--cache", "cache", "--scores", "a=v.csv")
    assert "view clean: 96 rows" not in ok("evaluate", "image", "--views", "all")


def test_a_table_for_papers_holds_no_markup_of_others() -> None:
    lines = ok("evaluate", "image", "--by", "generator", "--format", "markdown").splitlines()
    assert lines[0].startswith("These scores ") or lines[0].startswith("**These scores are not")
    assert "| ---: " in lines[5] and any(line.startswith("| AUC | 0.") for line in lines)
    assert not any("Next:" in line for line in lines)


def test_another_detector_takes_part_by_its_scores(folder: Path) -> None:
    ok("predict", "image", "cache", "--out", "theirs.csv", "--overwrite")
    both = json.loads(ok("evaluate", "image", "--scores", "theirs=theirs.csv", "--json"))
    alone = json.loads(ok("evaluate", "--cache", "cache", "--scores", "theirs=theirs.csv", "--json"))
    (own,), (theirs,) = both["views"], both["scores"]["theirs"]["views"]
    assert alone == {"scores": both["scores"]}
    assert theirs["ranking"]["auc"]["estimate"] == pytest.approx(own["ranking"]["auc"]["estimate"])
    assert both["scores"]["theirs"]["about"]["run_digest"] is None


def test_operating_points_of_scores_are_printed_and_nothing_is_written(folder: Path) -> None:
    ok("predict", "image", "cache", "--out", "theirs.csv", "--overwrite")
    words = ("calibrate", "--scores", "theirs=theirs.csv", "--max-fpr", "0.3")
    before = sorted(folder.iterdir())
    assert "Operating point fpr-0.3" in ok(*words)
    found = json.loads(ok(*words, "--json"))["scores"]["theirs"]
    assert found["guarantees"][0]["bound"] <= 0.3 and found["least_n"] == {"fpr": 9}
    assert "without RUN" in fails(*words, "--out", "new")
    assert "name the folder of a RUN, or --scores" in fails("calibrate", "--max-fpr", "0.3")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate",), "nothing is to be scored"),
        (("evaluate", "image", "--view", "clean", "--views", "clean"), "both given"),
        (("evaluate", "image", "--point", "strict"), "no operating point 'strict'"),
        (("evaluate", "image", "--out", "."), "it is a folder"),
        (("scan", "image", "table.csv", "--out", "table.csv", "--overwrite"), "is the data themselves"),
        (("evaluate", "--cache", "cache", "--scores", "a=v.csv", "--prior", "0.1"), "are of a run"),
        (("evaluate", "image", "--scores", "a=v.csv", "--scores", "a=v.csv"), "named twice"),
        (("compare", "image", "--scores", "a=v.csv", "--views", "clean,blur:1"), "compare them in one"),
        (("compare", "image"), "there is one detector"),
        (("compare", "image", "image"), "named twice"),
    ],
)
def test_what_cannot_be_is_one_line(words: tuple[str, ...], message: str) -> None:
    assert message in fails(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "nowhere", "--by", "maker"), "'maker' is none of generator, origin, format, size"),
        (("evaluate", "nowhere", "--scores", "theirs.csv"), "'theirs.csv' is not NAME=F.csv"),
        (("scan", "nowhere", "nothing", "--prior", "1", "--out", "v.csv"), "1 is not a number from 1e-06 to 0.999999"),
        (("scan", "nowhere", "nothing", "--out", "v.txt"), "v.txt ends in '.txt', expected one of .csv, .jsonl"),
        (("predict", "nowhere", "--out", "p.xls"), "p.xls ends in '.xls', expected one of .csv"),
        (("calibrate", "nowhere", "--max-fpr", "2"), "2 is not a number from 1e-06 to 0.5"),
        (("calibrate", "nowhere", "--max-fnr", "nan"), "nan is not a number from"),
        (("calibrate", "nowhere", "--max-fpr", "0.1", "--confidence", "95"), "95 is not a number from 0.5"),
        (("calibrate", "nowhere", "--coverage", "2"), "2 is not a number from 0.5"),
        (("train", "nowhere", "--max-fpr", "1"), "1 is not a number from"),
        (("pseudo-label", "nowhere", "--threshold", "0.5"), "0.5 is not a number above 0.5, at most 1"),
        (("ablate", "nowhere", "--folds", "2"), "2 is neither 0 nor a number from 3 on"),
    ],
)
def test_what_no_run_and_no_data_could_take_is_wrong_usage(words: tuple[str, ...], message: str) -> None:
    result = call(*words)
    assert result.exit_code == 2 and message in " ".join(result.output.replace("│", " ").split())


def test_a_comparison_says_which_is_better() -> None:
    text = ok("compare", "text", "image")
    share = json.loads(ok("compare", "text", "image", "--json"))["prior"]
    assert f"Log loss is at a share of AI of {share:.2g}, that of the first" in " ".join(text.split())
    assert "image less text, view clean" in text and "better" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    found: dict[str, Any] = json.loads(ok("compare", "text", "image", "--json"))
    assert (found["n"], found["n_groups"], found["answered"]) == (96, 16, {"text": 96, "image": 96})
    auc = next(each for each in found["differences"] if each["figure"] == "auc")
    assert auc["verdict"] == "better" and auc["difference"]["low"] > 0 and auc["p_value"] < 0.05
    assert "| AUC |" in ok("compare", "text", "image", "--format", "markdown")


def test_what_was_promised_is_told_and_of_which_view(folder: Path, tmp_path: Path) -> None:
    ok("calibrate", "image", "cache", "--max-fpr", "0.4", "--out", tmp_path / "kept")
    run = tmp_path / "kept"
    text = ok("evaluate", run, "--cache", "cache")
    told = " ".join(text.split())
    promised = "at most 40 % of real pictures like those of data set synthetic are called AI, with 95 % confidence"
    assert f"Promised: {promised} Of AI pictures like these " in told and "“real” says: not called AI" in told
    assert " real rows called AI (95 %: " in told and "within 40 %" in told
    assert "this was promised" not in text
    record = json.loads((run / "run.json").read_text())
    record["verdicts"]["points"][0]["view"] = "blur:1"
    (run / "run.json").write_text(json.dumps(record))
    for words in (("evaluate", run, "--cache", "cache"), ("predict", run, "cache", "--out", tmp_path / "p.csv")):
        assert "promised for view blur:1, not for clean" in " ".join(ok(*words).split())


def test_a_run_that_does_not_find_its_cache_says_how_to_name_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run(open_store("cache"), tmp_path / "run", head="linear", fusion="image")
    monkeypatch.chdir(tmp_path)
    said = fails("evaluate", "run")
    assert "the cache 'cache' that the run was fitted on is not to be found from here: name its folder" in said
    ok("evaluate", "run", "--cache", folder / "cache")


@pytest.mark.slow
def test_another_cache_than_the_one_that_a_run_was_fitted_on_is_told(folder: Path, tmp_path: Path) -> None:
    store = write_cache(tmp_path / "other", signal=0.8)
    train_run(store, tmp_path / "run", head="linear", fusion="image")
    told = " ".join(call("evaluate", tmp_path / "run").stderr.split())
    assert f"Note: this is of cache cache; the run was fitted on {tmp_path / 'other'}" in told
    assert "Note: this is of" not in call("evaluate", tmp_path / "run", "--cache", "cache").stderr
    assert "Note: this is of" not in call("evaluate", "image").stderr
