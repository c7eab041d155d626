"""Laws of the command line: what is printed, for people and for machines, and how it ends."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import heads.detect
from featcache import FeatcacheError
from heads.commands import register
from heads.commands.options import parse_settings
from heads.commands.render import safe
from heads.errors import HeadsError
from heads.runs import load_run
from tests.heads.synthetic import Row, train_run, write_cache

COMMANDS = ("train", "evaluate", "predict", "pseudo-label", "ablate", "detect")
QUICK = ("--set", "epochs=6", "--set", "lr=0.02", "--dim", "16")
app = typer.Typer()
register(app)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "80"})


def ok(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def as_json(*words: object) -> dict[str, Any]:
    value = json.loads(ok(*words, "--json"))
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``cache`` and a run ``run``."""
    folder = tmp_path_factory.mktemp("project")
    store = write_cache(folder / "cache")
    train_run(store, folder / "run", head="linear")
    return folder


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def assert_fits(text: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith(("Next:", "Saved", "Tables", "Wrote"))]
    assert max(len(line) for line in lines) <= 80, max(lines, key=len)


def test_help_loads_no_framework() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; import typer; from heads.commands import register\n"
        "app = typer.Typer(); register(app)\n"
        f"for c in {COMMANDS!r}: assert CliRunner().invoke(app, [c, '--help']).exit_code == 0\n"
        "names = {'torch', 'transformers', 'lightgbm', 'sklearn', 'matplotlib', 'pandas'}\n"
        "print(sorted(names & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_train_runs_as_it_stands_in_a_project_folder(project: Path) -> None:
    text = ok("train", "--loss", "multitask", "--fusion", "image", *QUICK)
    assert_fits(text)
    runs = list((project / "runs").iterdir())
    assert len(runs) == 1
    assert text.rstrip().splitlines()[-1].startswith("Next: heads evaluate runs/")
    assert load_run(runs[0]).record.config.settings["loss"] == "multitask"


def test_train_json_is_one_object(tmp_path: Path) -> None:
    found = as_json("train", "--fusion", "image", *QUICK, "--seed", 5, "--out", tmp_path / "run")
    assert found["run"] == str(tmp_path / "run")
    assert found["config"]["seed"] == 5
    assert found["rows"]["train"] == 180
    assert found["validation"]["selecting"]["n"] == 48


def test_an_existing_out_is_refused_before_the_work(tmp_path: Path) -> None:
    ok("train", "--head", "linear", "--fusion", "image", "--out", tmp_path / "run")
    result = call("train", "--head", "linear", "--fusion", "image", "--out", tmp_path / "run")
    assert isinstance(result.exception, HeadsError)
    ok("train", "--head", "linear", "--fusion", "image", "--out", tmp_path / "run", "--overwrite")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "lr"), "not KEY=VALUE"),
        (("--set", "rate=1"), "unknown setting 'rate'"),
        (("--set", "seed=1"), "given already"),
        (("--set", "image.outputs=layers:4"), "layers:4"),
        (("--dataset", "other"), "other"),
        (("--preset", "paper", "--head", "gbdt"), "preset 'paper' is of head 'mlp'"),
        (("nowhere",), "nowhere"),
    ],
)
def test_train_refuses_what_it_does_not_know(words: tuple[str, ...], message: str) -> None:
    result = call("train", "--fusion", "image", *words)
    assert isinstance(result.exception, FeatcacheError)
    assert message in str(result.exception)


def test_a_wrong_choice_is_wrong_usage() -> None:
    assert call("train", "--fusion", "film").exit_code == 2
    assert call("ablate", "--dim", "32,x").exit_code == 2


def test_settings_are_read_as_json_or_text() -> None:
    settings, choices = parse_settings(
        ["lr=3e-4", "patience=null", "select_by=paper", "text.encoder=ab"], {"dim": None}
    )
    assert settings == {"lr": 3e-4, "patience": None, "select_by": "paper"}
    assert choices == {"text": {"encoder": "ab"}}


def test_default_fusion_on_a_store_of_one_modality_names_the_one_that_would_do(tmp_path: Path) -> None:
    write_cache(tmp_path / "cache", modalities=("image",))
    result = call("train", tmp_path / "cache")
    assert isinstance(result.exception, HeadsError)
    assert "--fusion image" in str(result.exception)


def test_evaluate_shows_the_reference_beside_the_result() -> None:
    text = ok("evaluate", "run", "--split", "test")
    assert_fits(text)
    assert "always AI" in text
    assert "0.833" in text  # its accuracy
    assert "transductive" not in text.lower()


def test_evaluate_json_has_the_keys_that_were_promised() -> None:
    found = as_json("evaluate", "run", "--split", "test")
    assert found["n"] == 96
    keys = {"accuracy", "balanced_accuracy", "f1_binary", "f1_macro", "f1_weighted", "auc", "average_precision"}
    assert found["tasks"]["a"].keys() == keys == found["reference"]["always_ai"]["tasks"]["a"].keys()
    assert found["tasks"]["b"].keys() == found["joint"].keys() == {"accuracy", "f1_macro", "f1_weighted"}


def test_evaluate_finds_the_runs_own_cache(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_run(write_cache(tmp_path / "elsewhere"), tmp_path / "run", head="linear")
    monkeypatch.chdir(tmp_path)
    assert as_json("evaluate", "run")["n"] == 96


def test_predict_ends_with_3_where_rows_have_no_answer(tmp_path: Path) -> None:
    def drop(rows: list[Row]) -> None:
        rows[-1].picture = None

    write_cache(tmp_path / "cache", edit=drop)
    result = call("predict", "run", tmp_path / "cache", "--out", tmp_path / "p.csv")
    assert result.exit_code == 3
    assert "1 written without an answer" in result.stdout
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["pred_a"] == ""
    assert rows[0]["pred_a"] in ("real", "ai")
    found = call("predict", "run", tmp_path / "cache", "--out", tmp_path / "p.csv", "--split", "test", "--json")
    assert found.exit_code == 3
    assert json.loads(found.stdout)["n_refused"] == 1


def test_predict_writes_the_competitions_file(tmp_path: Path) -> None:
    assert_fits(ok("predict", "run", "--split", "test", "--format", "ct2", "--out", tmp_path / "answer.json"))
    answers = json.loads((tmp_path / "answer.json").read_text())
    assert len(answers) == 96
    assert answers[0].keys() == {"index", "Label_A", "Label_B"}


def test_predict_refuses_an_unknown_ending_before_the_work(tmp_path: Path) -> None:
    assert "expected one of .csv" in str(call("predict", "nowhere", "--out", tmp_path / "p.xls").exception)


def test_pseudo_label_then_evaluate_says_transductive(tmp_path: Path) -> None:
    text = ok("pseudo-label", "run", "--split", "test", "--out", tmp_path / "run2")
    assert_fits(text)
    assert "precision" in text
    assert (tmp_path / "run2" / "pseudo_labels.csv").is_file()
    assert "Transductive" in ok("evaluate", tmp_path / "run2", "--split", "test")
    assert as_json("evaluate", tmp_path / "run2", "--split", "test")["transductive"] is True
    again = as_json("pseudo-label", "run", "--split", "test", "--out", tmp_path / "run3")
    assert again["transductive"] == ["test"]
    assert again["pseudo"]["teacher"] == "run"
    assert again["pseudo"]["n_overlap"] == 0
    chained = as_json("pseudo-label", tmp_path / "run2", "--split", "test", "--out", tmp_path / "run4")
    assert chained["validation"]["digest"] == again["validation"]["digest"]


def test_pseudo_label_on_valid_is_refused() -> None:
    assert "validation never changes" in str(call("pseudo-label", "run", "--split", "valid").exception)


def test_ablate_prints_a_table_and_writes_the_rest(tmp_path: Path) -> None:
    words = (
        "ablate",
        "--fusion",
        "concat,image",
        "--dim",
        "4,8",
        "--seeds",
        2,
        "--set",
        "epochs=2",
        "--set",
        "lr=0.02",
    )
    text = ok(*words, "--out", tmp_path / "a")
    assert_fits(text)
    assert "±" in text
    assert "Next: heads train cache --head mlp --fusion" in text
    assert (tmp_path / "a" / "ablation.png").is_file()
    found = as_json(*words, "--out", tmp_path / "b")
    assert len(found["rows"]) == 8
    assert len(found["summary"]) == 4


def test_detect_prints_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featcache import open_store

    vector = open_store("cache").arrays("test").features["image"][1]
    monkeypatch.setattr(heads.detect, "encode_image", lambda *args, **options: vector)
    (tmp_path / "x.png").write_bytes(b"x")
    text = ok("detect", "run", "--image", tmp_path / "x.png", "--device", "cpu")
    assert_fits(text)
    assert text.startswith("Verdict: AI-generated, most likely by sd21")
    assert "synthetic/image" in text
    found = as_json("detect", "run", "--image", tmp_path / "x.png")
    assert found["verdict"] == "ai"
    assert list(found["probabilities"]) == ["real", "sd21", "sdxl", "sd3", "dalle3", "midjourney"]


def test_detect_says_which_picture_it_cannot_read(tmp_path: Path) -> None:
    assert "cannot read the picture" in str(call("detect", "run", "--image", tmp_path / "no.png").exception)
    assert "needs a picture" in str(call("detect", "run").exception)


def test_untrusted_text_reaches_the_terminal_harmless() -> None:
    assert safe("[red]x\x1b[31m\n") == r"\[red]x\x1b[31m\n"


def test_a_strange_class_name_is_printed_as_it_is(tmp_path: Path) -> None:
    names = ("[bold]a[/]", "b\x1b[2J")
    store = write_cache(tmp_path / "cache", generators=names)
    train_run(store, tmp_path / "run", head="linear")
    text = ok("pseudo-label", tmp_path / "run", tmp_path / "cache", "--out", tmp_path / "run2")
    assert "[bold]a[/]" in text
    assert "\x1b" not in text
