"""The commands as a user meets them: real processes, real exit codes, one clear line for every mistake."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import cli
from featcache.cache.shard import read_shard

from factories import FakeSpec, make_cache, read_manifest, write_bert, write_dataset, write_vision

ROOT = Path(__file__).resolve().parents[1]
WARNINGS = "error,ignore::ResourceWarning"
"""An interrupt may come between the opening of a file and whoever would close it: only the file itself can say so."""


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


def run(command: str, *arguments: object, cwd: Path) -> Result:
    """Run a command's entry point in this process: what it prints, and how it exits."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [command, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            getattr(cli, f"{command}_main")()
    return Result(int(exit_.value.code or 0), out.getvalue(), err.getvalue())


def spawn(*arguments: object, cwd: Path, command: str = "featcache") -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    code = f"from cli import {command}_main; import sys; sys.argv[0] = '{command}'; {command}_main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": WARNINGS, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fails(result: Result, code: int, *words: str) -> None:
    """Assert one clear line on stderr, no traceback, and the exit code."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr and "Traceback" not in result.stdout
    told = result.stderr if code != 2 else " ".join(line.strip(" │") for line in result.stderr.splitlines())
    for word in words:
        assert word in told, result.stderr
    if code == 1:
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, result.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with data, tiny models, a featcache.toml, and a finished cache."""
    root = tmp_path_factory.mktemp("project")
    write_dataset(root / "data", n_captions=24)
    write_bert(root / "bert")
    write_vision(root / "clip")
    (root / "featcache.toml").write_text(
        'data = "data/manifest.csv"\ntext_model = "bert"\nimage_model = "clip"\ncache = "cache"\nruns = "runs"\n'
    )
    result = run("featcache", "extract", "--device", "cpu", "--shard-rows", 16, cwd=root)
    assert result.returncode == 0, result.stderr
    assert "72 contents, 0 cached, 72 encoded" in result.stdout
    return root


@pytest.mark.parametrize("command", ["featcache", "heads"])
def test_help_imports_no_framework(command: str) -> None:
    code = f"""
import sys
from typer.testing import CliRunner
import cli
runner = CliRunner()
app = cli.{command}_app
names = [c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands]
for arguments in ([], *[[name] for name in names]):
    result = runner.invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, (arguments, result.output)
heavy = {{"torch", "transformers", "lightgbm", "sklearn", "pandas", "pyarrow", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
assert len(names) >= 4
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("command", ["featcache", "heads"])
def test_the_version_names_what_results_depend_on(command: str, tmp_path: Path) -> None:
    result = run(command, "--version", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"featcache {version('featcache')} (Python {platform.python_version()}, torch ")
    assert f"h5py {version('h5py')}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("heads", "train", "--fusion", "conct"), "Did you mean 'concat'?"),
        (("heads", "train", "--head", "LINEAR-"), "Did you mean 'linear'?"),
        (("featcache", "extract", "--device", "cud"), "Did you mean 'cuda'?"),
        (("featcache", "extract", "--on-orphan", "zzz"), "'zzz' is not one of 'error', 'skip'"),
        (("heads", "trian"), "Did you mean 'train'?"),
    ],
)
def test_a_mistyped_value_is_told_what_comes_close(arguments: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    result = run(*arguments, cwd=tmp_path)
    said = " ".join(result.stderr.replace("│", "").split())
    assert result.returncode == 2
    assert expected in said
    assert "Value error" not in said


@pytest.mark.parametrize(
    ("words", "expected"), [("featcache extr", "extract"), ("heads train --fusion image-", "image-spectral")]
)
def test_a_shell_can_complete_commands_and_values(words: str, expected: str) -> None:
    command, *rest = words.split()
    code = f"import sys; from cli import {command}_main; sys.argv[0] = '{command}'; {command}_main()"
    asks = {f"_{command.upper()}_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(rest))}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | asks
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [expected]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_the_command_starts_is_one_line(number: signal.Signals) -> None:
    code = f"""
import os, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Interrupts())
import cli
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "interrupted before anything was begun\n")


def test_who_imports_the_command_lines_keeps_the_own_ways_with_signals() -> None:
    code = """
import signal
numbers = (signal.SIGINT, signal.SIGTERM)
own = [lambda *_: None for _ in numbers]
for number, handler in zip(numbers, own):
    signal.signal(number, handler)
import cli
assert [signal.getsignal(number) for number in numbers] == own
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_extraction_says_that_there_is_nothing_to_encode(project: Path) -> None:
    result = run("featcache", "extract", cwd=project)
    assert result.returncode == 0 and "complete: nothing to encode" in result.stdout


def test_status_tells_what_is_there_and_what_comes_next(project: Path) -> None:
    text = run("featcache", "status", cwd=project)
    assert text.returncode == 0 and max(map(len, text.stdout.splitlines())) <= 80
    for word in ("bert", "clip", "train 48", "alpha 24", "Complete. Next: heads train cache"):
        assert word in text.stdout
    status = json.loads(run("featcache", "status", "cache", "--json", cwd=project).stdout)
    assert status["n_missing"] == 0 and status["datasets"][0]["n_samples"] == 72


def test_verify_exits_with_what_it_finds(project: Path, tmp_path: Path) -> None:
    assert run("featcache", "verify", "--deep", cwd=project).returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(project / "cache", copy)
    victim = next(copy.glob("features/**/*.h5"))
    victim.write_bytes(victim.read_bytes()[:-100])
    result = run("featcache", "verify", copy, cwd=tmp_path)
    assert result.returncode == 1 and victim.name in result.stdout.replace("\n", "")


def test_export_writes_what_the_documentation_says(project: Path, tmp_path: Path) -> None:
    result = run("featcache", "export", "cache", "--out", tmp_path / "x.npz", cwd=project)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert {"sample_id", "split", "label_a", "label_b", "text", "image"} <= set(arrays)
        assert arrays["text"].shape == (72, 16)


@pytest.mark.parametrize("out", ["x.npz", "x"])
def test_damaged_vectors_are_refused_until_they_are_repaired(project: Path, tmp_path: Path, out: str) -> None:
    shutil.copytree(project / "cache", tmp_path / "copy")
    victim = sorted(tmp_path.glob("copy/features/*/clean/*.h5"))[0]
    data = bytearray(victim.read_bytes())
    data[next(iter(read_shard(victim).outputs.values())).offset] ^= 16
    victim.write_bytes(data)
    export = ("featcache", "export", "copy", "--out", out)
    for words in (export, ("heads", "train", "copy", "--head", "linear", "--out", "run")):
        fails(
            run(*words, cwd=tmp_path), 1, "error: cache 'copy' has a damaged shard, run `featcache repair copy`: shard "
        )
        assert sorted(p.name for p in tmp_path.iterdir()) == ["copy"]
    assert run(*export, "--no-check", cwd=tmp_path).returncode == 0
    assert run("featcache", "repair", "copy", cwd=tmp_path).returncode == 0
    assert run("featcache", "export", "copy", "--out", "y.npz", cwd=tmp_path).returncode == 0
    fails(run(*export, cwd=tmp_path), 1, f"error: cannot export to '{out}': it exists already; choose another --out")


def test_export_takes_all_that_is_stored_and_what_is_named_and_never_nothing(tmp_path: Path) -> None:
    from featcache.extraction.run import ExtractOptions, extract

    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", width=3), FakeSpec("spectral", ("grid", "radial"), width=5)]
    manifest, cache = read_manifest(write_dataset(tmp_path / "d", n_captions=3)), make_cache(tmp_path / "cache")
    extract(manifest, cache, specs, options=ExtractOptions(device="cpu"))
    extract(manifest, cache, specs[2:], views="hflip", options=ExtractOptions(device="cpu"))

    def widths(*options: object) -> dict[str, int]:
        result = run("featcache", "export", "--out", "x.npz", "--overwrite", "--json", *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
            found = {m: arrays[m].shape[1] for m in ("text", "image", "spectral") if m in arrays}
        assert json.loads(result.stdout)["widths"] == found
        return found

    assert widths() == {"text": 4, "image": 3, "spectral": 10}
    assert widths("--spectral-outputs", "radial") == {"text": 4, "image": 3, "spectral": 5}
    assert widths("--spectral-encoder", "none") == {"text": 4, "image": 3}
    only = ("--text-encoder", "none", "--image-encoder", "none")
    assert widths(*only, "--spectral-encoder", specs[2].fingerprint.digest[:8]) == {"spectral": 10}
    assert widths("--view", "hflip") == {"text": 4, "spectral": 10}
    (tmp_path / "x.npz").unlink()
    for options, words in (
        ((*only, "--spectral-encoder", "none"), ("nothing to export", "text, image, spectral")),
        (("--view", "blur:1"), ("'blur:1'", "no vectors")),
        (("--view", "hflip", "--image-outputs", "pooled"), ("'hflip'", "no vectors")),
        (("--spectral-encoder", "ffff"), ("spectral encoder 'ffff'",)),
    ):
        fails(run("featcache", "export", "--out", "x.npz", *options, cwd=tmp_path), 1, *words)
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.slow
def test_the_whole_way_from_pictures_to_a_verdict(project: Path) -> None:
    trained = run("heads", "train", "--loss", "multitask", "--dim", 16, "--out", "runs/a", cwd=project)
    assert trained.returncode == 0, trained.stderr
    scores = json.loads(run("heads", "evaluate", "runs/a", "--split", "test", "--json", cwd=project).stdout)
    assert scores["n"] == 12 and 0 <= scores["tasks"]["a"]["auc"] <= 1
    assert scores["reference"]["always_ai"]["tasks"]["a"]["accuracy"] == pytest.approx(2 / 3)
    for ending in ("csv", "jsonl", "parquet"):
        assert run("heads", "predict", "runs/a", "--out", f"p.{ending}", cwd=project).returncode == 0
    header = (project / "p.csv").read_text().splitlines()[0]
    assert header == "sample_id,p_ai,p_ai_raw,pred_a,pred_b,reason,p_alpha,p_beta,novelty"
    labels = ("--split", "test", "--threshold", 0.51, "--out", "runs/b")
    pseudo = run("heads", "pseudo-label", "runs/a", *labels, cwd=project)
    assert pseudo.returncode == 0, pseudo.stderr
    again = json.loads(run("heads", "evaluate", "runs/b", "--split", "test", "--json", cwd=project).stdout)
    assert again["transductive"] is True
    grid = ("--fusion", "concat,image", "--dim", "8,16", "--seeds", 2, "--folds", 0, "--out", "grid")
    assert run("heads", "ablate", *grid, cwd=project).returncode == 0
    assert (project / "grid" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    picture = ("--image", "data/0-alpha.png", "--caption", "caption number 0")
    verdict = run("heads", "detect", "runs/a", *picture, "--device", "cpu", cwd=project)
    assert verdict.returncode == 0, verdict.stderr
    fails(run("heads", "detect", "runs/a", "--image", "data/0-alpha.png", cwd=project), 1, "--fusion image")
    cannot = "cannot read the picture"
    for no_picture, why in (
        ("/dev/zero", cannot),
        ("nowhere.png", cannot),
        ("data", "is a folder, expected a picture"),
    ):
        picture = ("--image", no_picture, "--caption", "x")
        fails(run("heads", "detect", "runs/a", *picture, cwd=project), 1, why)


def test_a_verdict_on_one_picture_is_that_of_its_cached_row(project: Path) -> None:
    out = project / "p-image.csv"
    assert run("heads", "train", "--fusion", "image", "--out", "runs/i", "--dim", 16, cwd=project).returncode == 0
    assert run("heads", "predict", "runs/i", "--out", out, cwd=project).returncode == 0
    row = next(line.split(",") for line in out.read_text().splitlines() if line.startswith("3-beta,"))
    told = json.loads(run("heads", "detect", "runs/i", "--image", "data/3-beta.png", "--json", cwd=project).stdout)
    assert told["p_ai"] == pytest.approx(float(row[1]), abs=5e-3)


@pytest.fixture(scope="module")
def detector(project: Path) -> Path:
    """A run that looks at pictures alone, in a folder that is no project."""
    trained = run("heads", "train", "--fusion", "image", "--head", "linear", "--out", "runs/scan", cwd=project)
    assert trained.returncode == 0, trained.stderr
    return project / "runs" / "scan"


def write_roll(folder: Path, project: Path) -> Path:
    """A folder as people have them: odd names, a copy, and files that are no pictures."""
    names = ("DCIM/IMG_0001.JPG", "DCIM/0_real/a b.jpeg", "снимок.jpg", "two\nlines.png", "=1+1.png", "train/x.png")
    pictures = sorted((project / "data").glob("*.png"))
    for name, picture in zip((*names, "copy.png"), (*pictures[: len(names)], pictures[0]), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, folder / name)
    (folder / "broken.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("of no picture")
    (folder / "gone.png").symlink_to("nowhere.png")
    return folder


def read_lines(path: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    return {str(line["sample_id"]): line for line in lines}


def test_a_scan_gives_every_file_a_line_and_the_verdict_that_it_has_alone(
    project: Path, detector: Path, tmp_path: Path
) -> None:
    roll = write_roll(tmp_path / "roll", project)
    words = ("--out", "v.jsonl", "--log", "log.jsonl", "--device", "cpu")
    scanned = run("heads", "scan", detector, "roll", *words, cwd=tmp_path)
    assert scanned.returncode == 3, scanned.stderr
    assert f"weights expected in {project / 'clip'}" in scanned.stderr and "view" not in scanned.stderr
    assert "decides  point balanced: AI if raw P(AI) ≥ 0." in scanned.stderr
    assert scanned.stdout.startswith("Nothing is said of the set: 7 judged, 10 are needed\n9 files: ")
    assert "2 failed (data 1, decode 1)" in scanned.stdout
    assert "Next: featcache failures v.featcache" in scanned.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "roll", "v.featcache", "v.jsonl"]
    lines = read_lines(tmp_path / "v.jsonl")
    assert len(lines) == 9 and lines["broken.jpg"]["stage"] == "decode" and lines["broken.jpg"]["verdict"] is None
    assert lines["None"]["path"] == str(roll / "gone.png") and lines["None"]["stage"] == "data"
    assert lines["copy.png"]["p_ai"] == lines["DCIM/IMG_0001.JPG"]["p_ai"]
    logged = {entry["path"]: entry for entry in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())}
    assert len(logged) == 9 and logged[str(roll / "broken.jpg")]["stage"] == "decode"
    judged = [line for line in lines.values() if line["error"] is None]
    pictures = [word for line in judged for word in ("--image", line["path"])]
    told = run("heads", "detect", detector, *pictures, "--json", "--device", "cpu", cwd=project)
    for line, alone in zip(judged, json.loads(told.stdout), strict=True):
        assert alone["image"] == line["path"] and alone["verdict"] == line["verdict"]
        assert alone["p_ai"] == pytest.approx(line["p_ai"], abs=5e-3)
        assert alone["probabilities"]["alpha"] == pytest.approx(line["p_alpha"], abs=5e-3)
        for name in ("path", "image_sha256", "verdict", "point", "prior", "run_digest", "encoders", "versions"):
            assert alone["entry"][name] == logged[line["path"]][name]
    assert str(roll) in str(lines["снимок.jpg"]["path"])


def test_a_second_scan_encodes_what_is_new_and_replaces_only_what_it_may(
    project: Path, detector: Path, tmp_path: Path
) -> None:
    (tmp_path / "roll").mkdir()
    pictures = sorted((project / "data").glob("*.png"))[:3]
    for picture in pictures[:2]:
        shutil.copyfile(picture, tmp_path / "roll" / picture.name)
    words = ("heads", "scan", detector, "roll", "--out", "v.csv", "--device", "cpu")
    first = run(*words, "--json", cwd=tmp_path)
    assert first.returncode == 0 and json.loads(first.stdout)["n_encoded"] == 2, first.stderr
    before = (tmp_path / "v.csv").read_bytes()
    fails(run(*words, cwd=tmp_path), 1, "v.csv exists already", "--overwrite")
    assert (tmp_path / "v.csv").read_bytes() == before
    shutil.copyfile(pictures[2], tmp_path / "roll" / "new.png")
    (tmp_path / "roll" / "notes.txt").write_text("no picture")
    second = json.loads(run(*words, "--overwrite", "--json", cwd=tmp_path).stdout)
    assert (second["n"], second["n_encoded"], second["n_failed"], second["failed"]) == (3, 1, 0, {})
    assert (second["point"], second["threshold"], second["note"]) == ("balanced", second["real_below"], None)
    assert (second["passed_over"], second["notes"]) == ({".txt": 1}, [])
    assert set(before.splitlines()) < set((tmp_path / "v.csv").read_bytes().splitlines())
    words = ("heads", "scan", detector, "roll/new.png", "--out", "v.parquet", "--cache", "v.featcache")
    alone = run(*words, "--device", "cpu", cwd=tmp_path)
    assert alone.returncode == 0 and "1 file:" in alone.stdout and "Next" not in alone.stdout, alone.stderr
    (tmp_path / "v.featcache" / "cache.json").write_text("no object")
    words = ("heads", "scan", detector, "roll", "--device", "cpu", "--overwrite", "--out", "v.csv")
    told = run(*words, cwd=tmp_path)
    fails(told, 1, "v.featcache, where scans keep vectors, cannot be used: delete it (rm -r v.featcache)")
    fails(run(*words, "--cache", "v.featcache", cwd=tmp_path), 1, "cache.json cannot be read")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--out", "v.txt"], 2, ["v.txt ends in '.txt', expected one of .csv"]),
        (["--out", "v.csv", "--text-model", "x"], 1, ["--text-model 'x'", "takes no text vectors"]),
        (["--out", "v.csv", "--image-model", "bert"], 1, ["bert"]),
        (["--out", "v.csv", "--cache", "cache"], 1, ["cache cache is the project's", "another --cache"]),
        (["--out", "v.csv", "--cache", "data"], 1, ["neither empty nor a cache"]),
        (["--out", "data"], 2, ["data ends in ''"]),
        ([], 2, ["--out"]),
    ],
)
def test_a_scan_that_cannot_be_done_is_refused_before_anything_is_written(
    project: Path, detector: Path, words: list[str], code: int, told: list[str]
) -> None:
    before = sorted(path.name for path in project.iterdir())
    fails(run("heads", "scan", detector, "data", *words, "--device", "cpu", cwd=project), code, *told)
    assert sorted(path.name for path in project.iterdir()) == before


def test_a_head_that_looks_at_text_says_which_pictures_have_no_caption(project: Path, tmp_path: Path) -> None:
    trained = run("heads", "train", "--fusion", "concat", "--head", "linear", "--out", tmp_path / "r", cwd=project)
    assert trained.returncode == 0, trained.stderr
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        shutil.copyfile(project / "data" / "0-real.png", tmp_path / "d" / f"{name}.png")
    words = ("heads", "scan", "r", "d", "--out", "v.jsonl", "--device", "cpu")
    fails(
        run(*words, cwd=tmp_path),
        1,
        "has no captions, expected some (1.txt beside 1.jpg, or a column caption) for text encoder",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "r"]
    (tmp_path / "d" / "a.txt").write_text("caption number 0")
    scanned = run(*words, cwd=tmp_path)
    assert scanned.returncode == 3 and "1 failed (data 1)" in scanned.stdout
    lines = read_lines(tmp_path / "v.jsonl")
    assert "Next" not in scanned.stdout
    assert lines["a.png"]["verdict"] and (lines["b.png"]["stage"], lines["b.png"]["error"]) == (
        "data",
        "it has no caption",
    )


def test_an_empty_folder_is_an_empty_table_and_one_that_is_not_there_an_error(detector: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("of nothing")
    words = ("heads", "scan", detector, "empty", "--device", "cpu", "--out")
    scanned = run(*words, "v.csv", cwd=tmp_path)
    assert scanned.returncode == 0 and scanned.stdout.startswith("0 files: 0 AI, 0 real, 0 failed"), scanned.stderr
    assert "no pictures, and passed over: 1 .md" in scanned.stdout
    (header,) = (tmp_path / "v.csv").read_text().splitlines()
    assert header.startswith("path,sample_id,verdict,reason,p_ai,")
    fails(run(*words, "nope/v.csv", cwd=tmp_path), 1, "there is no folder nope")
    (tmp_path / "empty" / "notes.md").unlink()
    (tmp_path / "empty").rmdir()
    fails(run(*words, "w.csv", cwd=tmp_path), 1, "there is no file 'empty'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.csv", "v.featcache"]


@pytest.mark.slow
def test_scans_that_are_killed_or_meet_leave_whole_files_and_lose_nothing(
    project: Path, detector: Path, tmp_path: Path
) -> None:
    words = ("scan", str(detector), str(project / "data"), "--cache", "c", "--device", "cpu", "--out")
    ended = [spawn(*words, f"{name}.csv", cwd=tmp_path, command="heads") for name in ("killed", "stopped")]
    deadline = time.monotonic() + 120
    while not (tmp_path / "c" / "cache.json").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    ended[0].kill()
    ended[1].terminate()
    _, errors = [process.communicate(timeout=120) for process in ended][1]
    assert [process.returncode for process in ended] == [-signal.SIGKILL, 130], errors
    assert f"heads scan {detector}" in errors and "Traceback" not in errors
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["c"]
    both = [spawn(*words, f"{name}.csv", cwd=tmp_path, command="heads") for name in ("killed", "b")]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "c", "killed.csv"]
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 73


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["extract", "nowhere.csv"], 1, ["nowhere.csv"]),
        (["extract", "data/manifest.csv", "--image-model", "gone/x/y"], 1, ["neither a folder nor a hub id"]),
        (["extract", "data/manifest.csv", "--image-outputs", "projected"], 1, ["no output 'projected'", "it has: "]),
        (["extract", "data/manifest.csv", "--image-outputs", "layers:3"], 1, ["layer"]),
        (["extract", "--views", "jpeg:0"], 2, ["--views", "jpeg", "1 to 100"]),
        (["extract", "--views", "clean,hflip", "--decode", "fast"], 1, ["fast decoding", "clean view"]),
        (["extract", "--spectral", "--decode", "fast"], 1, ["fast decoding", "spectral"]),
        (["extract", "--spectral-outputs", "odd"], 1, ["spectral output 'odd'", "radial"]),
        (["extract", "--views", ""], 2, ["--views", "empty"]),
        (["extract", "--image-outputs", " "], 2, ["--image-outputs", "empty"]),
        (["bench", "--views", ""], 2, ["--views", "empty"]),
        (["extract", "--views", "clean,"], 2, ["an empty view is among 'clean,'"]),
        (["extract", "--shard", "1/1"], 2, ["--shard", "the only one is 0/1"]),
        (["extract", "--spectral-outputs", "grid", "--no-spectral"], 2, ["--spectral-outputs", "--no-spectral"]),
        (["extract", "--clip-text", "--image-model", "none"], 1, ["--clip-text", "--image-model"]),
        (["extract", "--shard", "8/8"], 2, ["8/8", "count from 0"]),
        (["extract", "--workers", "many"], 2, ["--workers"]),
        (["extract", "--memory", "much"], 2, ["--memory", "memory is 'much'", "a size like 2GB"]),
        (["bench", "--memory", "-1GB"], 2, ["memory is '-1GB'", "a size like 2GB"]),
        (["extract", "--json-log", "nowhere/log"], 1, ["nowhere/log"]),
        (["extract", "--text-model", "none", "--image-model", "none"], 1, ["no encoder is left"]),
        (["extract", "--text-template", "hello"], 1, ["{caption}"]),
        (["extract", "--dtype", "int4"], 2, ["int4"]),
        (["extract", "--batch-size", "0"], 2, ["--batch-size"]),
        (["status", "data"], 1, ["is no cache"]),
        (["status", "nowhere"], 1, ["does not exist"]),
        (["verify", "data"], 1, ["is no cache"]),
        (["export", "cache", "--out", "x.zip"], 1, [".npz"]),
        (["export", "cache", "--out", "x.npz", "--split", "night"], 1, ["'night'"]),
        (["export", "cache"], 2, ["--out"]),
        (["frobnicate"], 2, ["frobnicate"]),
    ],
)
def test_every_mistake_ends_in_one_clear_line(project: Path, arguments: list[str], code: int, words: list[str]) -> None:
    fails(run("featcache", *arguments, cwd=project), code, *words)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "nowhere"], 1, ["does not exist"]),
        (["train", "--head", "forest"], 2, ["forest"]),
        (["train", "--loss", "hinge"], 2, ["hinge"]),
        (["evaluate", "nowhere", "--split", "test"], 1, ["nowhere"]),
        (["evaluate", "data", "--split", "test"], 1, ["run.json"]),
        (["predict", "nowhere", "--out", "x.csv"], 1, ["nowhere"]),
        (["detect", "nowhere", "--image", "data/0-real.png"], 1, ["nowhere"]),
    ],
)
def test_every_mistake_with_heads_ends_in_one_clear_line(
    project: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    fails(run("heads", *arguments, cwd=project), code, *words)


def test_cuda_without_cuda_is_an_error_that_names_the_torch_build(project: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    fails(run("featcache", "extract", "--device", "cuda", cwd=project), 1, torch.__version__)


def test_an_unreadable_picture_makes_exit_code_three_and_is_named(project: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=2)
    (tmp_path / "d" / "1-alpha.png").write_bytes(b"not a picture \x1b[31m")
    models = ("--text-model", project / "bert", "--image-model", project / "clip", "--cache", tmp_path / "c")
    result = run("featcache", "extract", data, *models, cwd=tmp_path)
    assert result.returncode == 3 and "failed 1-alpha" in result.stdout and "\x1b" not in result.stdout
    again = run("featcache", "extract", data, *models, "--json", cwd=tmp_path)
    assert again.returncode == 3 and json.loads(again.stdout)["n_failed"] == 1


def test_a_damaged_tar_gives_what_was_readable_and_exit_code_three(project: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "pictures.tar", "w") as tar:
        for name in ("0-real", "0-alpha"):
            tar.add(project / "data" / f"{name}.png", f"{name}.png")
        (tmp_path / "bad.json").write_text("{")
        tar.add(tmp_path / "bad.json", "0-alpha.json")
    models = ("--image-model", project / "clip", "--cache", tmp_path / "c")
    result = run("featcache", "extract", tmp_path / "pictures.tar", *models, cwd=tmp_path)
    assert result.returncode == 3, (result.stdout, result.stderr)
    assert "2 encoded" in result.stdout and "broken" in result.stdout and "0-alpha.json" in result.stdout


def test_data_without_captions_need_no_text_encoder(project: Path, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for name in ("real", "alpha"):
            folder = tmp_path / "tree" / split / name
            folder.mkdir(parents=True)
            (folder / "x.png").write_bytes((project / "data" / f"0-{name}.png").read_bytes())
    options = ("--image-model", project / "clip", "--cache", tmp_path / "c")
    result = run("featcache", "extract", tmp_path / "tree", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "text" not in result.stdout.splitlines()[0]


def test_two_data_sets_of_the_same_name_are_not_confused(project: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", n_captions=2)
    fails(run("featcache", "extract", data, cwd=project), 1, "has a data set 'data' already", "--name")


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM,), *(pytest.param(s, marks=pytest.mark.slow) for s in ((signal.SIGINT,), (signal.SIGINT,) * 2))],
)
def test_an_interrupted_extraction_says_how_to_go_on(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    write_dataset(tmp_path / "data", n_captions=12)
    arguments = ("extract", "data/manifest.csv", "--text-model", "none", "--image-model", "none", "--spectral")
    arguments += ("--device", "cpu", "--batch-size", 1, "--shard-rows", 4, "--views", "clean,hflip")
    process = spawn(*arguments, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("cache/features/*/clean/*.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.005)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "featcache extract data/manifest.csv" in errors and "Traceback" not in errors and "Exception" not in errors
    cache = tmp_path / "cache"
    n_left = len(list(cache.glob("features/**/*.h5")))
    assert not list(cache.rglob(".tmp-*")) and 0 < n_left < 2 * 9
    finished = run("featcache", *arguments, "--batch-size", 64, cwd=tmp_path)
    assert finished.returncode == 0 and "0 failed" in finished.stdout
    n_shards = len(list(cache.glob("features/**/*.h5")))  # the unit in work may be in two parts in each view
    assert 2 * 9 <= n_shards <= 2 * 10 and not list(cache.glob("claims/*/*/*.json"))


@pytest.mark.slow
def test_an_interruption_before_the_first_unit_is_one_like_any_other(project: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", n_captions=2)
    process = spawn("extract", "data/manifest.csv", "--image-model", project / "clip", "--text-model", "none",
                    "--batch-size", 1, cwd=tmp_path)  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "cache").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130) and "Traceback" not in errors, errors


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(project: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", n_captions=3)
    models = ("--text-model", project / "bert", "--image-model", project / "clip")
    plain = run("featcache", "extract", data, *models, "--dry-run", cwd=tmp_path)
    assert plain.returncode == 0 and "9 samples" in plain.stdout and "Nothing was written" in plain.stdout
    timed = run("featcache", "extract", data, *models, "--dry-run=timed", "--json", cwd=tmp_path)
    found = json.loads(timed.stdout)
    assert [side["n_todo"] for side in found["sides"]] == [3, 9] and found["seconds"] > 0 and found["n_bytes"] > 0
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    shown = run("featcache", "extract", "--dry-run", cwd=project)
    assert shown.returncode == 0 and "0 B needed" in shown.stdout
    fails(
        run("featcache", "extract", data, *models, "--dry-run", "--cache", "data", cwd=tmp_path),
        1,
        "neither empty nor a cache",
    )


def test_a_task_of_an_array_that_is_submitted_again_does_its_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path / "data", n_captions=4)
    models = ("--text-model", "none", "--image-model", "none", "--spectral", "--device", "cpu")

    def encoded(*options: object, **array: int) -> int:
        for name, value in array.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        result = run("featcache", "extract", data, *models, "--json", *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert ("2/3 of the frozen plan" in result.stderr) == ("auto" in options)
        found = json.loads(result.stdout)
        return int(found["sides"][0]["n_todo"] if "--dry-run" in options else found["n_encoded"])

    assert encoded("--shard", "0/3") == 4
    again = {"ID": 2, "MIN": 2, "MAX": 2, "COUNT": 1}
    assert encoded("--shard", "auto", "--dry-run", **again) == 4
    assert encoded("--shard", "auto", **again) == 4 and encoded("--shard", "auto", "--refreeze", **again) == 0
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "3")
    fails(run("featcache", "extract", data, *models, "--shard", "auto", cwd=tmp_path), 1, "--shard auto/3")
    assert encoded() == 4


@pytest.mark.slow
def test_layers_views_and_spectral_features_come_from_one_command(project: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", n_captions=2)
    (tmp_path / "featcache.toml").write_text('data = "data"\nviews = "clean,hflip"\nspectral = true\n')
    models = ("--text-model", project / "bert", "--text-outputs", "cls,layers:all", "--image-model", project / "clip")
    what = (*models, "--image-outputs", "pooled,layers:all", "--spectral-outputs", "radial,grid", "--shard-rows", 4)
    manifest = tmp_path / "data" / "manifest.csv"
    dry = run("featcache", "extract", manifest, *what, "--dry-run", cwd=tmp_path)
    lines = [line for line in dry.stdout.splitlines() if str(manifest) not in line]  # a path is never cut
    assert dry.returncode == 0 and max(map(len, lines)) <= 80
    head = next(number for number, line in enumerate(lines) if line.startswith("encoder"))
    assert [line.split()[:4] for line in lines[head + 1 : head + 4]] == [
        ["text", "bert", "1", "2"], ["image", "clip", "2", "6"], ["spectral", "spectral", "2", "6"],
    ]  # fmt: skip
    result = run("featcache", "extract", manifest, *what, "--json-log", "log", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "6 contents × 2 views, 0 cached, 12 encoded, 0 failed" in result.stdout
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines][:1] == ["start"] and lines[-1]["event"] == "end"
    assert sum(line["n_rows"] for line in lines if line["event"] == "unit") == 2 + 12 + 12
    assert all(line["time"].endswith("+00:00") for line in lines)
    again = run("featcache", "extract", manifest, *what, "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["n_encoded"] == 0 and again.stderr == ""
    more = run("featcache", "extract", manifest, *what, "--views", "train", "--json", cwd=tmp_path)
    assert json.loads(more.stdout)["n_encoded"] == 6 * 6 * 2


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ('spectral_outputs = "grid,radial"', [], "grid,radial"),
        ('spectral_outputs = "grid"', ["--no-spectral"], None),
        ('spectral_outputs = "grid"\nspectral = false', [], None),
        ('spectral_outputs = "grid"\nspectral = false', ["--spectral"], "grid"),
        ("spectral = true", ["--no-spectral"], None),
        ("spectral = false", ["--spectral-outputs", "radial"], "radial"),
    ],
)
def test_what_is_said_of_spectral_features_on_the_command_line_wins(
    tmp_path: Path, settings: str, options: list[str], expected: str | None
) -> None:
    data = write_dataset(tmp_path / "data", n_captions=1)
    (tmp_path / "featcache.toml").write_text(settings)
    models = ("--text-model", "none", "--image-model", "none", "--device", "cpu")
    result = run("featcache", "extract", data, *models, *options, cwd=tmp_path)
    if expected is None:
        fails(result, 1, "no encoder is left")
        return
    assert result.returncode == 0, result.stderr
    about = json.loads(run("featcache", "export", "--out", "x.npz", "--json", cwd=tmp_path).stdout)
    assert about["n_rows"] == 3
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        outputs = json.loads(arrays["about"].item())["features"]["spectral"]["outputs"]
    assert sorted(outputs) == expected.split(",")


@pytest.mark.slow
def test_on_a_miss_it_is_said_which_field_differs_and_encoders_are_chosen_by_name(
    project: Path, tmp_path: Path
) -> None:
    import shutil

    from factories import write_vision

    shutil.copytree(project / "cache", tmp_path / "cache")
    write_vision(tmp_path / "clip2", seed=3)
    data = project / "data" / "manifest.csv"
    arguments = ("extract", data, "--text-model", "none", "--image-model", "clip2", "--name", "data")
    dry = run("featcache", *arguments, "--dry-run", cwd=tmp_path)
    assert "would encode 72 pictures with clip2" in dry.stdout and "differs in model.weights" in dry.stdout
    result = run("featcache", *arguments, "--json", cwd=tmp_path)
    assert result.returncode == 0 and "will encode 72 pictures with clip2" in result.stderr
    (miss,) = json.loads(result.stdout)["sides"][0]["misses"]
    assert miss["model"] == "clip" and [change["field"] for change in miss["changes"]] == ["model.weights"]
    diff = run("featcache", "diff", "cache", "clip", "clip2", cwd=tmp_path)
    assert diff.returncode == 0 and "model.weights" in diff.stdout
    fails(run("featcache", "diff", "cache", "clip", "clop", cwd=tmp_path), 1, "fits 0 encoders", "(clip2)", "(bert)")
    train = ("train", "cache", "--fusion", "image", "--head", "linear")
    fails(run("heads", *train, "--out", "a", cwd=tmp_path), 1, "2 image encoders", "(clip)", "(clip2)")
    fails(run("heads", *train, "--out", "a", "--image-encoder", "clop", cwd=tmp_path), 1, "fits 0", "(clip2)")
    fails(run("heads", *train, "--out", "a", "--text-encoder", "bert", cwd=tmp_path), 1, "only image vectors are used")
    assert run("heads", *train, "--out", "a", "--image-encoder", "clip2", cwd=tmp_path).returncode == 0
    evaluate = ("evaluate", "a", "--split", "test", "--image-encoder")
    assert run("heads", *evaluate, "clip2", cwd=tmp_path).returncode == 0
    fails(run("heads", *evaluate, "clip", cwd=tmp_path), 1, "was fitted on vectors of", "heads train")
    fails(run("heads", *evaluate, "clop", cwd=tmp_path), 1, "fits 0", "(clip2)")
    fails(run("heads", "predict", "a", "--out", "p.csv", "--text-encoder", "bert", cwd=tmp_path), 1, "no text vectors")
    grid = ("ablate", "cache", "--fusion", "image", "--head", "linear", "--seeds", 1, "--out", "grid")
    assert run("heads", *grid, "--image-encoder", "clip", cwd=tmp_path).returncode == 0
    twice = ("--image-encoder", "clip", "--set", "image.encoder=clip2")
    fails(run("heads", *train, *twice, "--out", "b", cwd=tmp_path), 1, "was given already")


def test_too_many_failures_are_an_error_and_what_failed_can_be_tried_again(project: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", n_captions=3)
    good = (tmp_path / "data" / "1-alpha.png").read_bytes()
    for name in ("1-alpha", "2-beta"):
        (tmp_path / "data" / f"{name}.png").write_bytes(f"no picture: {name}".encode())
    arguments = ("extract", data, "--text-model", "none", "--image-model", project / "clip")
    fails(run("featcache", *arguments, "--max-failures", "1", cwd=tmp_path), 1, "stopped: 2 contents failed", "1-alpha")
    fails(run("featcache", *arguments, "--max-failures", "many", cwd=tmp_path), 2, "'many' is neither a number")
    assert run("featcache", *arguments, "--max-failures", "50%", cwd=tmp_path).returncode == 3
    (tmp_path / "data" / "1-alpha.png").write_bytes(good)
    again = run("featcache", *arguments, "--retry-failed", cwd=tmp_path)
    assert again.returncode == 3 and "1 encoded, 1 failed" in again.stdout
    for path in (tmp_path / "data").glob("*.png"):
        path.write_bytes(b"no picture: " + path.name.encode())
    fails(run("featcache", *arguments, "--cache", "other", cwd=tmp_path), 1, "all 9 image contents failed", "0-real")
