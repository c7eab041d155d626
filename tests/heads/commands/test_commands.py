"""Laws of the command line: what is printed, for people and for machines, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import heads.runs.detection
import heads.runs.run
from featcache import FeatcacheError, ImageError, ShardError, open_store
from featcache.synthetic import SyntheticView, write_synthetic
from heads.commands import register
from heads.commands.choices import parse_settings
from heads.commands.detect import draw_bar
from heads.commands.likeness_lines import print_set
from heads.commands.render import probability, safe
from heads.data.fusion import FUSIONS
from heads.errors import HeadsError
from heads.files.chained_log import check_log
from heads.runs.run import load_run
from heads.runs.set_statement import set_state
from tests.heads.synthetic import GENERATORS, Row, train_run, write_cache

COMMANDS = (
    "train",
    "evaluate",
    "calibrate",
    "predict",
    "pseudo-label",
    "ablate",
    "detect",
    "scan",
    "verify-log",
    "card",
)
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


@pytest.mark.slow
def test_help_loads_no_framework() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; import typer; from heads.commands import register\n"
        "app = typer.Typer(); register(app)\n"
        f"for c in {COMMANDS!r}: assert CliRunner().invoke(app, [c, '--help']).exit_code == 0\n"
        "names = {'torch', 'transformers', 'lightgbm', 'sklearn', 'matplotlib', 'pandas'}\n"
        "print(sorted(names & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_train_runs_as_it_stands_in_a_project_folder(project: Path) -> None:
    text = ok("train", "--loss", "multitask", "--fusion", "image", *QUICK)
    assert_fits(text)
    runs = list((project / "runs").iterdir())
    assert len(runs) == 1
    assert text.rstrip().splitlines()[-1].startswith("Next: heads evaluate runs/")
    record = load_run(runs[0]).record
    assert record.config.settings["loss"] == "multitask"
    assert "\nTraining rows: 83.3% AI" in text and f"\nThreshold: {record.verdicts.threshold_rule}\n" in text
    assert re.search(r"^Maps: (none|A slope|B temperature)\b", text, re.M)


def test_train_json_is_one_object(tmp_path: Path) -> None:
    found = as_json("train", "--fusion", "image", *QUICK, "--seed", 5, "--out", tmp_path / "run")
    assert found["run"] == str(tmp_path / "run")
    assert found["config"]["seed"] == 5
    assert found["rows"]["train"] == 180
    assert found["validation"]["selecting"]["n"] == 48
    assert found["verdicts"]["maps"]["prior"] == 5 / 6


def test_train_tells_of_components_and_of_trees_that_never_split(tmp_path: Path) -> None:
    words = ("train", "--head", "gbdt", "--fusion", "image", "--set", "rounds=2", "--set", "components=3")
    text = " ".join(ok(*words, "--set", "min_data_in_leaf=1000", "--out", tmp_path / "run").split())
    assert "Note: trees learn from 3 principal components of 12 columns" in text
    assert text.count("min_data_in_leaf=1 lets") == 2
    assert as_json(*words, "--out", tmp_path / "other")["notes"][1:] == []


@pytest.mark.slow
def test_an_existing_out_is_refused_before_the_work(tmp_path: Path) -> None:
    ok("train", "--head", "linear", "--fusion", "image", "--out", tmp_path / "run")
    result = call("train", "--head", "linear", "--fusion", "image", "--out", tmp_path / "run")
    assert isinstance(result.exception, HeadsError)
    ok("train", "--head", "linear", "--fusion", "image", "--out", tmp_path / "run", "--overwrite")


@pytest.mark.slow
def test_what_killed_trainings_left_among_the_projects_runs_goes(project: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from featcache.files.folders import new_folder\n"
        "with new_folder(Path(sys.argv[1]), check=lambda _: None): os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("runs/20250101-000000", "elsewhere/r"):
        subprocess.run([sys.executable, "-c", code, str(project / name)], check=False)
    subprocess.run([sys.executable, "-c", code, str(project / "runs" / "work")], check=False)
    ok("train", "--head", "linear", "--fusion", "image")
    left = [path.name for path in (project / "runs").iterdir() if path.name.startswith(".")]
    assert len(left) == 1 and left[0].startswith(".work.")  # no command makes up such a name
    assert len(list((project / "elsewhere").iterdir())) == 1
    ok("train", "--head", "linear", "--fusion", "image", "--out", project / "elsewhere" / "r")
    assert [path.name for path in (project / "elsewhere").iterdir()] == ["r"]


def test_predict_refuses_what_is_no_file_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for name, what in (("link", "a link"), (".", "a folder")):
        result = call("predict", "no-run", "--format", "ct2", "--out", tmp_path / name)
        assert isinstance(result.exception, HeadsError)
        assert f"it is {what}, expected a file or nothing there" in str(result.exception)


@pytest.mark.slow
def test_an_ablation_that_is_refused_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    words = ("ablate", "--head", "linear", "--fusion", "image", "--no-controls", "--out", tmp_path / "a")
    ok(*words)
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert isinstance(call(*words, "--overwrite", "--set", "rate=1").exception, HeadsError)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    ok(*words, "--overwrite")


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
    assert call("ablate", "--seeds", "x").exit_code == 2


def test_settings_are_read_as_json_or_text() -> None:
    settings, choices = parse_settings(
        ["lr=3e-4", "patience=null", "select_by=paper", "text.encoder=ab", "spectral.view=blur:1"], {"dim": None}
    )
    assert settings == {"lr": 3e-4, "patience": None, "select_by": "paper"}
    assert choices == {"text": {"encoder": "ab"}, "spectral": {"view": "blur:1"}}


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


def test_whether_scores_are_known_is_said_first() -> None:
    assert ok("evaluate", "run", "--split", "test").startswith("These scores ")
    assert ok("evaluate", "run", "--split", "test").splitlines()[2].startswith("  Told from 48 calibrating rows: AUC ")
    about = as_json("evaluate", "run", "--split", "test")["about"]
    told, effect = about["statement"], about["effect_size"]
    assert (effect["n"], effect["share"], effect["note"]) == (96, told["share"], None)
    assert effect["auc"]["low"] < 0.5 < effect["auc"]["high"]
    figures = {"n", "n_known", "distance", "null", "p_value", "share", "is_unlike"}
    assert {*told} == figures | {"compared_with"} and told["n"] == 96
    assert told["compared_with"] == {"dataset": "synthetic", "rows": "validation", "view": "clean"}
    assert (about["statement_note"], about["set_state"]) == (None, "not-told-apart")
    about = as_json("evaluate", "run", "--split", "valid")["about"]
    assert about["statement"] is None and about["statement_note"] == "the head was made with rows of valid"


@pytest.mark.parametrize(
    ("is_unlike", "low", "rows", "told"),
    [
        (True, 0.95, "validation", "not those of pictures like the training ones: threshold, guarantee and novelty"),
        (True, 0.6, "valid", "are not those of pictures like those of data set phone: threshold and guarantee do not"),
        (False, 0.95, "validation", "may be those of pictures like the training ones, the vectors are not"),
        (False, 0.95, "valid", "These scores may be those of pictures like those of data set phone D 0.2"),
        (False, 0.6, "valid", "These scores may be those of pictures like those of data set phone"),
        (False, None, "validation", "These scores may be those of pictures like the training ones"),
    ],
)
def test_what_is_said_of_a_set_fits_and_names_what_it_is_compared_with(
    is_unlike: bool, low: float | None, rows: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"n": 1200, "distance": 0.214, "null": 0.07, "share": 0.34, "is_unlike": is_unlike}
    statement = {**values, "compared_with": {"dataset": "phone", "rows": rows, "view": "clean"}}
    auc = None if low is None else {"estimate": 0.97, "low": low, "high": 0.99}
    effect = {"n_known": 400, "auc": auc, "dataset": "photos", "note": "gone"}
    state = set_state(statement, effect)
    print_set({"statement": statement, "statement_note": None, "effect_size": effect, "set_state": state})
    text = capsys.readouterr().out
    assert told in " ".join(text.split()) and ("No alarm" in text) == (state == "vectors-unlike")
    assert "D 0.214 (97.5 % of like sets: up to 0.070), n 1,200, nearest at 34% AI" in text
    assert_fits(text)


def test_too_few_held_out_groups_are_told_once_and_call_nothing_novel(tmp_path: Path) -> None:
    text = ok("predict", "run", "--split", "test", "--abstain", "novel", "--out", tmp_path / "p.csv")
    assert_fits(text)
    assert text.count("rests on 8 groups of held-out rows: 99 are needed") == 1 and "0 unsure" in text
    assert as_json("predict", "run", "--split", "test", "--out", tmp_path / "q.csv")["n_unlike"] == 0


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


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "predict", "pseudo-label"])
def test_nothing_is_written_into_a_cache_that_only_the_run_names(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = write_cache(tmp_path / "theirs").path
    train_run(open_store(cache), tmp_path / "run", head="linear")
    for path in cache.glob("features/**/*.h5"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    before = sorted(cache.rglob("*"))
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    outs = {"evaluate": (), "predict": ("--out", "p.csv"), "pseudo-label": ("--out", "run2")}
    ok(command, tmp_path / "run", *outs[command])
    assert sorted(cache.rglob("*")) == before
    ok("evaluate", tmp_path / "run", "--cache", cache)
    assert sorted(cache.rglob("*")) != before


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
    words = ("--out", tmp_path / "p.csv", "--overwrite", "--split", "test", "--json")
    found = call("predict", "run", tmp_path / "cache", *words)
    assert found.exit_code == 3
    assert json.loads(found.stdout)["n_refused"] == 1


def test_predict_writes_the_competitions_file(tmp_path: Path) -> None:
    assert_fits(ok("predict", "run", "--split", "test", "--format", "ct2", "--out", tmp_path / "answer.json"))
    answers = json.loads((tmp_path / "answer.json").read_text())
    assert len(answers) == 96
    assert answers[0].keys() == {"index", "Label_A", "Label_B"}


@pytest.mark.parametrize("form", [(), ("--format", "ct2")])
def test_predict_replaces_answers_only_where_that_is_asked_for(form: tuple[str, ...], tmp_path: Path) -> None:
    words = ("predict", "run", "--split", "test", *form, "--out", tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("mine")
    refused = call(*words)
    assert refused.exit_code == 1
    assert "exists already: choose another --out, or replace it with --overwrite" in str(refused.exception)
    assert (tmp_path / "p.csv").read_text() == "mine"
    ok(*words, "--overwrite")
    assert (tmp_path / "p.csv").read_text() != "mine"


def next_words(text: str) -> list[str]:
    """Return what a command proposes to type next."""
    line = next(line for line in text.splitlines() if line.startswith("Next: "))
    return shlex.split(line.removeprefix("Next: heads "))


@pytest.mark.slow
def test_what_is_proposed_next_works_and_means_the_same_cache_data_set_and_view(
    viewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = as_json("train", viewed, "--head", "linear", "--fusion", "image", "--out", tmp_path / "r0")["run"]
    dataset = load_run(Path(name)).record.source["dataset"]
    options = ("--head", "linear", "--fusion", "image", "--dataset", dataset)
    monkeypatch.chdir(tmp_path)
    text = ok("train", viewed, *options, "--out", tmp_path / "r")
    evaluate = next_words(text)
    assert evaluate == [
        "evaluate",
        str(tmp_path / "r"),
        *("--split", "test", "--cache", str(viewed), "--dataset", dataset),
    ]
    predict = next_words(ok(*evaluate, "--view", "blur:1"))
    assert predict[-4:] == ["--view", "blur:1", "--dataset", dataset]
    assert next_words(ok(*predict))[:2] == evaluate[:2]
    again = next_words(ok(*evaluate))
    assert "predictions-2.csv" in again
    ok(*again)


@pytest.mark.slow
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


def test_other_train_rows_than_those_of_then_are_told_where_a_run_is_scored(tmp_path: Path) -> None:
    document = json.loads(shutil.copytree("run", tmp_path / "run").joinpath("run.json").read_text())
    assert "learned from" not in call("evaluate", tmp_path / "run").output
    document["rows"]["train"] -= 2
    (tmp_path / "run" / "run.json").write_text(json.dumps(document))
    for words in (("evaluate", tmp_path / "run"), ("compare", "run", tmp_path / "run")):
        told = " ".join(call(*words).output.split())
        assert f"was fitted it had {document['rows']['train']}: rows of other splits may be among those that" in told


def test_a_run_whose_cache_was_where_nobody_can_look_is_used_on_others(tmp_path: Path) -> None:
    run = tmp_path / "run"
    document = json.loads(shutil.copytree("run", run).joinpath("run.json").read_text())
    document["source"]["cache"] = "c" * 5000
    (run / "run.json").write_text(json.dumps(document))
    for words in (
        ("evaluate", run, "--cache", "cache"),
        ("predict", run, "cache", "--out", tmp_path / "p.csv"),
        ("compare", run, "run", "--cache", "cache"),
        ("calibrate", run, "cache", "--max-fpr", "0.5", "--out", tmp_path / "calibrated"),
        ("pseudo-label", run, "cache", "--out", tmp_path / "labelled"),
        ("card", run, "--out", tmp_path / "card"),
    ):
        found = call(*words)
        assert found.exit_code == 0 or isinstance(found.exception, FeatcacheError), (words, found.exception)


def test_pseudo_label_on_valid_is_refused() -> None:
    assert "validation never changes" in str(call("pseudo-label", "run", "--split", "valid").exception)


ABLATE = ("ablate", "--folds", 0, "--seeds", 2, "--set", "epochs=2", "--set", "min_steps=0", "--set", "lr=0.02")


def test_ablate_prints_a_table_and_writes_the_rest(tmp_path: Path) -> None:
    words = (*ABLATE, "--fusion", "concat,image", "--dim", "4,8")
    text = ok(*words, "--dataset", "synthetic", "--out", tmp_path / "a")
    assert_fits(text)
    assert "±" in text
    assert "~text" in text
    assert "against image" in text
    last = text.splitlines()[-1]
    assert last.startswith("Next: heads train cache --head mlp --fusion")
    assert "--set epochs=2 --set min_steps=0 --set lr=0.02" in last and last.endswith(" --dataset synthetic")
    assert (tmp_path / "a" / "ablation.png").is_file()
    found = as_json(*words, "--out", tmp_path / "b")
    assert len(found["heads"]) == 8 + 6
    assert len(found["table"]) == 4 + 3


@pytest.mark.parametrize("named", [True, False])
def test_an_interrupted_ablation_says_how_to_go_on(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heads.ablation.ablation.ablate", interrupted)
    words = ["ablate", "--head", "linear", "--fusion", "image", *(["--out", str(tmp_path / "a")] if named else [])]
    monkeypatch.setattr("sys.argv", ["heads", *words])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = call(*words)
    finally:  # a command that was interrupted keeps its handlers: its process ends, ours goes on
        for number, handler in before.items():
            signal.signal(number, handler)
    assert result.exit_code == 130
    line = result.stderr.splitlines()[-1].strip()
    assert line.startswith(f"heads {' '.join(words)}") and line.count("--out ") == 1


def test_an_interrupted_training_says_that_nothing_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heads.linear.head.LinearHead.fit_rows", interrupted)
    result = call("train", "--head", "linear", "--fusion", "image", "--out", str(tmp_path / "run"))
    assert result.exit_code == 130 and result.stdout == ""
    assert result.stderr.splitlines()[-1] == "interrupted; nothing was stored"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ablate_judges_what_it_holds_out_in_80_columns(tmp_path: Path) -> None:
    words = ("ablate", "--head", "linear", "--fusion", "image,concat", "--no-controls", "--hold-out", "generator")
    text = ok(*words, "--select", "held-out", "--out", tmp_path / "a")
    assert_fits(text)
    assert "the settings were chosen by this" in " ".join(text.split())
    assert text.count("Without the generator that is judged: linear") == 2
    (head, *_), lines = re.findall(r"^held out.*", text, re.M), re.findall(r"^(\w+) +(?:\d+ +\d+ +)?\d\.\d", text, re.M)
    assert head.split() == ["held", "out", "n", "groups", "TPR", "FPR", "AUC"]
    assert lines[-7:] == [*GENERATORS, "mean", "worst"]
    assert "needs two origins or more" in str(call(*words[:-1], "origin", "--out", tmp_path / "b").exception)
    assert call(*words[:-1], "caption").exit_code == 2


@pytest.mark.slow
def test_ablate_compares_heads_and_rates_in_80_columns(tmp_path: Path) -> None:
    words = (
        "ablate",
        "--head",
        "mlp,linear",
        "--folds",
        "0",
        "--fusion",
        "image,concat,logit-mean",
        "--lr",
        "1e-3,0.0125",
        "--dim",
        "8",
    )
    text = ok(*words, "--seeds", 2, "--set", "epochs=2", "--set", "min_steps=0", "--out", tmp_path / "a")
    assert_fits(text)
    assert "linear concat" in text
    assert "mlp logit-mean" in text


@pytest.mark.slow
def test_ablate_scores_in_folds_unless_it_goes_on_with_what_was_begun_without(tmp_path: Path) -> None:
    words = ("ablate", "--head", "linear", "--fusion", "image", "--no-controls")
    found = as_json(*words, "--out", tmp_path / "a")
    assert (found["grid"]["folds"], found["n_rows"]["scored"]) == (5, 276)
    assert "by heads of 5 folds that saw nothing of them" in found["conditions"]["scored_on"]
    without = as_json(*words, "--folds", 0, "--out", tmp_path / "b")
    assert without["grid"]["folds"] is None and without["n_rows"]["scored"] == 276 - 180 - 48
    assert "which chose no epoch" in without["conditions"]["scored_on"]
    (tmp_path / "c").mkdir()
    plan = {**without["grid"], "rows": "", "device": "cpu", "memory": None}
    (tmp_path / "c" / "plan.json").write_text(json.dumps({"format": 1, "kind": "heads-ablation-plan", "plan": plan}))
    assert "begun with other rows or vectors than" in str(call(*words, "--out", tmp_path / "c").exception)


@pytest.mark.slow
def test_a_finished_ablation_is_not_replaced_unasked_for(tmp_path: Path) -> None:
    words = ("ablate", "--head", "linear", "--fusion", "image", "--no-controls", "--out", tmp_path / "a")
    ok(*words)
    assert "--overwrite" in str(call(*words).exception)
    ok(*words, "--overwrite")


@pytest.mark.slow
def test_a_file_gives_the_options_and_the_command_line_goes_over_it(tmp_path: Path) -> None:
    config = tmp_path / "grid.toml"
    config.write_text(
        'fusion = ["image"]\ndim = [4, 8]\nseeds = 2\ncontrols = false\n[set]\nepochs = 2\nmin_steps = 0\n'
        '[image]\noutputs = "pooled"\n'
    )
    found = as_json("ablate", "--config", config, "--seeds", 1, "--folds", 3, "--out", tmp_path / "a")
    grid = found["grid"]
    assert (grid["fusions"], grid["dims"], grid["seeds"], grid["folds"]) == (["image"], [4, 8], 1, 3)
    assert grid["controls"] is False
    assert grid["settings"] == {"epochs": 2, "min_steps": 0}
    config.write_text("dims = [4]")
    assert "unknown key 'dims'" in str(call("ablate", "--config", config).exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dim", "32,x"), "expected whole numbers"),
        (("--fusion", "film"), "unknown fusion 'film'"),
        (("--head", "svm"), "unknown head 'svm'"),
        (("--set", "rate=1"), "unknown setting 'rate'"),
        (("--head", "lda,mlp", "--set", 'invariant_to=["hflip"]'), "or fit with heads train --invariant-to"),
        (("--head", "mlp", "--set", "invariant_to=hflip"), "'invariant_to' is not for ablations"),
        (("--image-outputs", "layers:4"), "layers:4"),
        (("--image-outputs", "pooled;layers:4"), "layers:4"),
        (("--image-outputs", "pooled;"), "''"),
        (("--fusion", "image", "--text-outputs", "cls;mean"), "only image vectors are used"),
        (("--fusion", "spectral"), "needs spectral vectors"),
    ],
)
def test_ablate_refuses_what_it_does_not_know(words: tuple[str, ...], message: str) -> None:
    assert message in str(call("ablate", *words).exception)


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with text, pictures in two views, several outputs, and spectral features."""
    path = tmp_path_factory.mktemp("viewed") / "cache"
    write_synthetic(
        path, captions={"train": 40, "valid": 20, "test": 20}, views={"blur:1": SyntheticView(shift=4.0, noise=0.5)}
    )
    return path


def test_outputs_and_views_are_chosen_by_options(viewed: Path, tmp_path: Path) -> None:
    words = ("train", viewed, "--head", "linear", "--fusion", "image-spectral")
    ok(*words, "--image-outputs", "layers:1-2", "--view", "blur:1", "--out", tmp_path / "run")
    selections = load_run(tmp_path / "run").selections
    assert selections["image"].outputs == ("layers:1", "layers:2")
    assert {selection.view for selection in selections.values()} == {"blur:1"}
    refused = call("train", viewed, "--head", "linear", "--fusion", "text", "--view", "blur:1")
    assert "captions have none" in str(refused.exception)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_every_fusion_trains_and_is_evaluated(viewed: Path, tmp_path: Path, fusion: str) -> None:
    outputs = ("--image-outputs", "layers:all") if fusion in ("layers", "rine") else ()
    ok("train", viewed, "--fusion", fusion, *outputs, "--dim", 8, "--set", "epochs=1", "--out", tmp_path / "run")
    assert as_json("evaluate", tmp_path / "run", "--cache", viewed)["n"] == 120


@pytest.mark.slow
def test_ablate_compares_outputs_in_80_columns(viewed: Path, tmp_path: Path) -> None:
    words = ("ablate", viewed, "--head", "linear", "--fusion", "image,text", "--no-controls", "--folds", 3)
    text = ok(*words, "--image-outputs", "layers:1;pooled;layers:all", "--out", tmp_path / "a")
    assert_fits(text)
    assert "vs first" in text and "against image layers:1" in text
    assert text.splitlines()[-1].endswith(("--set image.outputs=pooled", "--set image.outputs=layers:all"))
    config = tmp_path / "grid.toml"
    config.write_text('[image]\noutputs = "layers:1; pooled; layers:all"\n', encoding="utf-8")
    found = as_json(*words, "--config", config, "--out", tmp_path / "b")
    assert found["grid"]["outputs"] == {"image": ["layers:1", "pooled", "layers:all"]}
    assert [line["image_outputs"] for line in found["table"]] == ["layers:1", "pooled", "layers:all", None]
    assert found["table"][1]["vs_first_low"] > 0 and found["table"][0]["vs_first"] is None


@pytest.mark.slow
def test_a_run_is_evaluated_under_another_view(viewed: Path, tmp_path: Path) -> None:
    ok("train", viewed, "--head", "linear", "--fusion", "image", "--out", tmp_path / "run")
    clean = as_json("evaluate", tmp_path / "run", "--cache", viewed)
    blurred = as_json("evaluate", tmp_path / "run", "--cache", viewed, "--view", "blur:1")
    assert blurred["view"] == "blur:1"
    assert blurred["tasks"]["b"]["f1_macro"] < clean["tasks"]["b"]["f1_macro"]
    text = ok("evaluate", tmp_path / "run", "--cache", viewed, "--view", "blur:1")
    assert text.startswith("Nothing is said of the set: the view of the known scores")
    assert_fits(text.split("\n", 2)[2])
    assert "view blur:1" in text
    ok("predict", tmp_path / "run", viewed, "--view", "blur:1", "--out", tmp_path / "p.csv")
    unknown = call("evaluate", tmp_path / "run", "--cache", viewed, "--view", "blur:9")
    assert "blur:9" in str(unknown.exception)


@pytest.mark.slow
def test_heads_are_fitted_on_the_views_that_are_named(viewed: Path, tmp_path: Path) -> None:
    words = (*ABLATE, viewed, "--fusion", "image", "--dim", "8", "--no-controls")
    found = as_json(*words, "--views", "clean,blur:1", "--out", tmp_path / "a")
    assert found["conditions"]["views"] == ["clean", "blur:1"]
    assert "lacks clean" in str(call(*words, "--views", "blur:1", "--out", tmp_path / "b").exception)


def test_train_takes_views_and_memory_and_the_run_says_so(viewed: Path, tmp_path: Path) -> None:
    words = ("train", viewed, "--fusion", "image", "--dim", 8, "--set", "epochs=2")
    ok(*words, "--views", "clean,blur:1", "--memory", "200KB", "--out", tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.record.views == ("clean", "blur:1") and run.selections["image"].view == "clean"
    refused = call("pseudo-label", tmp_path / "run", viewed, "--split", "test", "--out", tmp_path / "second")
    assert "was fitted on views clean, blur:1" in str(refused.exception)
    assert "lacks clean" in str(call(*words, "--views", "blur:1").exception)
    wrong = call(*words, "--memory", "2 parsecs")
    assert wrong.exit_code == 2 and "2 parsecs" in wrong.stderr


def test_train_reads_views_that_are_not_to_be_seen_and_the_run_says_so(viewed: Path, tmp_path: Path) -> None:
    words = ("train", viewed, "--fusion", "image", "--invariant-to", "clean,blur:1")
    ok(*words, "--head", "lda", "--out", tmp_path / "run")
    record = load_run(tmp_path / "run").record
    assert record.config.settings["invariant_to"] == ["blur:1"] and record.views == ()
    assert {fit["gamma"] for fit in record.history} == {1.0} and {fit["labels"] for fit in record.history} == {"clean"}
    assert as_json("evaluate", tmp_path / "run", "--cache", viewed)["tasks"]["a"]["auc"] > 0.5
    refused = call("pseudo-label", tmp_path / "run", viewed, "--split", "test", "--out", tmp_path / "second")
    assert "was fitted on views blur:1" in str(refused.exception)
    ok(*words, "--views", "clean,blur:1", "--head", "lda", "--out", tmp_path / "both")
    assert load_run(tmp_path / "both").record.config.settings["invariant_to"] == []
    for head in ("mlp", "gbdt"):
        assert f"unknown setting 'invariant_to' of head '{head}'" in str(call(*words, "--head", head).exception)


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in ("ablate", "train"):
        assert "no CUDA device" in str(call(command, "--device", "cuda").exception)


@pytest.fixture(scope="module")
def damaged(project: Path) -> Path:
    """A copy of ``cache`` in which one bit of one vector of a picture is another one."""
    cache = shutil.copytree(project / "cache", project / "damaged")
    store = open_store(cache)
    (shard,) = store.shard_set(store.select("image").fingerprint).shards
    data = bytearray(shard.path.read_bytes())
    data[shard.outputs["pooled"].offset + 2] ^= 1
    shard.path.write_bytes(data)
    return shard.path


READERS = {
    "train": ("train", "{}", "--head", "linear", "--fusion", "image"),
    "ablate": ("ablate", "{}", "--head", "linear", "--fusion", "image", "--seeds", 1, "--no-controls"),
    "evaluate": ("evaluate", "run", "--cache", "{}"),
    "predict": ("predict", "run", "{}"),
    "pseudo-label": ("pseudo-label", "run", "{}", "--threshold", 0.6),
}


def reader(command: str, cache: Path, out: Path) -> list[object]:
    words = [cache if word == "{}" else word for word in READERS[command]]
    return words if command == "evaluate" else [*words, "--out", out]


@pytest.mark.slow
@pytest.mark.parametrize("command", READERS)
def test_a_damaged_shard_is_refused_by_every_command_that_reads_vectors(
    command: str, damaged: Path, tmp_path: Path
) -> None:
    words = reader(command, damaged.parents[3], tmp_path / "x.csv")
    result = call(*words)
    assert isinstance(result.exception, ShardError) and result.stdout == ""
    assert f"run `featcache repair {damaged.parents[3]}`: shard {damaged}: dataset 'features/pooled'" in str(
        result.exception
    )
    assert not (tmp_path / "x.csv").exists()
    ok(*words, "--no-check")


@pytest.mark.slow
@pytest.mark.parametrize("command", READERS)
def test_only_what_a_head_takes_is_checked(command: str, damaged: Path, tmp_path: Path) -> None:
    """The vectors of the captions are sound."""
    cache = damaged.parents[3]
    if command in ("train", "ablate"):
        words = [word if word != "image" else "text" for word in reader(command, cache, tmp_path / "x")]
    else:
        train_run(open_store("cache"), tmp_path / "run", head="linear", fusion="text")
        words = [word if word != "run" else tmp_path / "run" for word in reader(command, cache, tmp_path / "x.csv")]
    ok(*words)


class Known:
    """Stands for an encoder that knows a vector for each picture: the n-th of the test rows for a file that holds n."""

    def encode(self, content: bytes) -> Any:
        if content == b"odd":
            raise ImageError("not a picture")
        return open_store("cache").arrays("test").features["image"][int(content)]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads.runs.detection, "load_encoder", lambda *_, **__: Known())


def write_pictures(folder: Path, **rows: int | str) -> list[Path]:
    for name, row in rows.items():
        (folder / f"{name}.png").write_text(str(row))
    return [folder / f"{name}.png" for name in rows]


def test_detect_prints_the_verdict(tmp_path: Path, encoder: None) -> None:
    (picture,) = write_pictures(tmp_path, x=1)
    text = ok("detect", "run", "--image", picture, "--device", "cpu")
    assert_fits("\n".join(text.splitlines()[1:]))
    assert text.startswith(f"{picture}: AI-generated, most likely by sd21\n")
    assert "synthetic/image" in text
    found = as_json("detect", "run", "--image", picture)
    assert found["verdict"] == "ai"
    assert list(found["probabilities"]) == ["real", "sd21", "sdxl", "sd3", "dalle3", "midjourney"]
    assert "image" not in found


@pytest.mark.slow
def test_detect_judges_every_picture_and_names_it(tmp_path: Path, encoder: None) -> None:
    pictures = write_pictures(tmp_path, ai=1, real=0)
    words = [word for picture in pictures for word in ("--image", picture)]
    lines = ok("detect", "run", *words).splitlines()
    assert [line for line in lines if line.startswith(str(tmp_path))] == [
        f"{pictures[0]}: AI-generated, most likely by sd21",
        f"{pictures[1]}: real",
    ]
    several = json.loads(ok("detect", "run", *words, "--json"))
    assert [found.pop("image") for found in several] == [str(picture) for picture in pictures]
    alone = [as_json("detect", "run", "--image", picture) for picture in pictures]
    for found in (*several, *alone):
        found["entry"].pop("time")
    assert several == alone


@pytest.mark.parametrize("p", [0.0, 0.01, 0.143, 0.144, 0.228, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 0.144, 0.5, 0.99, 1.0])
def test_the_bar_reaches_the_threshold_where_the_verdict_is_ai(p: float, threshold: float) -> None:
    left, right = draw_bar(p, threshold).split("│")
    assert len(left + right) == 24
    assert "·" not in left if p >= threshold else "█" not in right


@pytest.mark.slow
@pytest.mark.parametrize(("most", "head"), [(10, "mlp"), (4096, "ensemble")])
def test_wide_vectors_are_for_the_network_alone_where_no_head_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, head: str
) -> None:
    monkeypatch.setattr("heads.runs.default_head.MOST_COLUMNS", most)
    result = call("train", "--fusion", "image", "--out", tmp_path / "run")
    assert load_run(tmp_path / "run").record.config.head == head
    assert ("many for linear discriminants" in " ".join(result.output.split())) == (head == "mlp")


def test_the_words_follow_the_decision_and_not_the_likelier_side(
    tmp_path: Path, encoder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture,) = write_pictures(tmp_path, x=0)
    p_ai = as_json("detect", "run", "--image", picture)["p_ai"]
    assert p_ai < 0.4
    monkeypatch.setattr(heads.runs.run.Run, "threshold", property(lambda _: p_ai / 2))
    text = ok("detect", "run", "--image", picture)
    assert f"{picture}: AI-generated" in text and f"P(AI) is {probability(p_ai, 4)}, at or above the threshold" in text
    known = ["AI", "sd21", "sdxl", "sd3", "dalle3", "midjourney"]
    assert [line.split()[0] for line in text.splitlines() if {*line.split()[:1]} & {*known}] == known


def test_a_small_probability_has_digits_and_a_prior_that_is_asked_for_is_named(tmp_path: Path, encoder: None) -> None:
    (picture,) = write_pictures(tmp_path, x=0)
    told = ok("detect", "run", "--image", picture, "--prior", 1e-6, "--point", "balanced")
    assert "Asked for: a share of AI of 1e-06, not 0.83" in told and "P(AI) is 0.000," not in told
    assert "0.000 " not in told
    assert "Asked for" not in ok("detect", "run", "--image", picture)


@pytest.mark.parametrize(
    ("p", "digits", "told"),
    [(0.5, 3, "0.500"), (0.0001, 3, "0.00010"), (2e-9, 3, "2.0e-09"), (0.99998, 4, "0.999980"), (0, 3, "0.000")],
)
def test_a_probability_is_told_from_0_and_from_1(p: float, digits: int, told: str) -> None:
    assert probability(p, digits) == told


def test_detect_says_which_picture_it_cannot_use(tmp_path: Path, encoder: None) -> None:
    good, odd = write_pictures(tmp_path, good=1, odd="odd")
    assert f"{odd}: not a picture" in str(call("detect", "run", "--image", odd).exception)
    assert "cannot read the picture" in str(call("detect", "run", "--image", tmp_path / "no.png").exception)
    assert "is a folder, expected a picture: `heads scan`" in str(call("detect", "run", "--image", tmp_path).exception)
    assert "needs a picture" in str(call("detect", "run").exception)
    wrong = call("detect", "run", "--image", good, "--caption", "a", "--caption", "b")
    assert wrong.exit_code == 2 and "2 for 1 pictures" in wrong.output


def test_detect_judges_the_others_of_pictures_that_it_cannot_use(tmp_path: Path, encoder: None) -> None:
    odd, good, other = write_pictures(tmp_path, odd="odd", good=1, other=0)
    words = ["detect", "run", "--log", tmp_path / "log.jsonl"]
    words += [word for picture in (odd, good, tmp_path / "no.png", other) for word in ("--image", picture)]
    result = call(*words)
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith(str(tmp_path))] == [
        f"{good}: AI-generated, most likely by sd21",
        f"{other}: real",
    ]
    told = [line for line in result.stderr.splitlines() if line]
    missing = f"cannot read the picture {tmp_path / 'no.png'}: "
    assert told[0] == f"Not judged: {odd}: not a picture" and told[1].startswith(f"Not judged: {missing}")
    found = call(*words, "--json")
    assert found.exit_code == 3
    documents = json.loads(found.stdout)
    assert [each.get("verdict") for each in documents] == [None, "ai", None, "real"]
    assert [(each["stage"], each["error"][: len(missing)]) for each in documents[::2]] == [
        ("decode", f"{odd}: not a picture"),
        ("read", missing),
    ]
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(each["verdict"], each["stage"]) for each in logged] == 2 * [
        (None, "decode"), ("ai", None), (None, "read"), ("real", None)
    ]  # fmt: skip
    assert [each["image_sha256"] is None for each in logged[:4]] == [False, False, True, False]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_detect_names_and_logs_all_pictures_where_it_can_use_none(
    tmp_path: Path, encoder: None, form: tuple[str, ...]
) -> None:
    (odd,) = write_pictures(tmp_path, odd="odd")
    missing, log = tmp_path / "no.png", tmp_path / "log.jsonl"
    result = call("detect", "run", "--image", odd, "--image", missing, "--log", log, *form)
    assert result.exit_code == 3
    told = [f"{odd}: not a picture", f"cannot read the picture {missing}: No such file or directory"]
    if form:
        assert [(each["image"], each["error"]) for each in json.loads(result.stdout)] == [
            (str(odd), told[0]), (str(missing), told[1])
        ]  # fmt: skip
    else:
        assert not result.stdout and result.stderr.splitlines() == [f"Not judged: {each}" for each in told]
    assert told[0] in str(call("detect", "run", "--image", odd, "--log", log, *form).exception)
    assert [json.loads(line)["error"] for line in log.read_text().splitlines()] == [*told, told[0]]
    assert check_log(log).n == 3


def test_untrusted_text_reaches_the_terminal_harmless() -> None:
    assert safe("[red]x\x1b[31m\n") == r"\[red]x\x1b[31m\n"


@pytest.mark.slow
def test_a_strange_class_name_is_printed_as_it_is(tmp_path: Path) -> None:
    names = ("[bold]a[/]", "b\x1b[2J")
    store = write_cache(tmp_path / "cache", generators=names)
    train_run(store, tmp_path / "run", head="linear")
    text = ok("pseudo-label", tmp_path / "run", tmp_path / "cache", "--out", tmp_path / "run2")
    assert "[bold]a[/]" in text
    assert "\x1b" not in text


def test_two_runs_begun_in_one_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heads.commands.folders import new_run_folder

    monkeypatch.chdir(tmp_path)
    (tmp_path / "featcache.toml").write_text('runs = "mine"\n')
    folders = []
    for _ in range(4):
        folders.append(new_run_folder(None))
        folders[-1].mkdir(parents=True)
    assert len(set(folders)) == 4 and new_run_folder(tmp_path / "given") == tmp_path / "given"


def test_names_that_no_text_can_hold_leave_a_log_whole(tmp_path: Path, encoder: None) -> None:
    good, odd = tmp_path / "good.png", tmp_path / "b\udcff.png"
    good.write_text("1")
    odd.write_text("odd")
    log = tmp_path / "log.jsonl"
    words = [word for picture in (good, odd) for word in ("--image", picture)]
    assert call("detect", "run", *words, "--log", log).exit_code == 3
    assert check_log(log).n == 2
    assert "b\\udcff.png: not a picture" in json.loads(log.read_text().splitlines()[1])["error"]
