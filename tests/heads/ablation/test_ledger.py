"""Laws of the ledger: what was finished is found again; what is damaged, or of another plan, is not believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.files.owner import Owner
from heads.ablation.ledger import LEDGER_FOLDER, PLAN, Ledger, TrialResult, remove_ledger
from heads.errors import HeadsError

X, Y = "0" * 32, "1" * 32
SIZE: dict[str, Any] = {"n_heads": 2, "n_classes": (2, 5), "n_rows": 3}


def result(decision: int = 1, p_ai: float | None = None) -> TrialResult:
    kept = None if p_ai is None else np.full((2, 3), p_ai, np.float32)
    numbers = np.array([0.5, 1.0]), np.array([7, -1]), np.array([0, 3])
    return TrialResult(np.full((2, 2, 3), decision, np.int16), *numbers, kept)


@pytest.mark.parametrize("p_ai", [None, 0.25])
def test_a_finished_trial_is_found_by_a_later_process(tmp_path: Path, p_ai: float | None) -> None:
    Ledger.open(tmp_path / "out", {"dims": [4]}).add(X, result(p_ai=p_ai))
    ledger = Ledger.open(tmp_path / "out", {"dims": (4,)})
    found = ledger.find(X, **SIZE, has_p_ai=p_ai is not None)
    assert found is not None
    for name, value in vars(result(p_ai=p_ai)).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert ledger.find(X, **SIZE, has_p_ai=p_ai is None) is None
    assert ledger.find(Y, **SIZE) is None


def test_another_plan_is_refused_and_the_difference_is_named(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "out", {"dims": [4], "seeds": 2})
    with pytest.raises(HeadsError, match=r"begun with dims \[4\], now it is \[4, 8\]"):
        Ledger.open(tmp_path / "out", {"dims": [4, 8], "seeds": 2})
    with pytest.raises(HeadsError, match="folds None, now it is 5"):
        Ledger.open(tmp_path / "out", {"dims": [4], "seeds": 2, "folds": 5})


@pytest.mark.parametrize("change", [{"n_heads": 3}, {"n_rows": 4}, {"n_classes": (2,)}, {"n_classes": (2, 1)}])
def test_a_trial_of_another_size_is_not_believed(tmp_path: Path, change: dict[str, Any]) -> None:
    ledger = Ledger.open(tmp_path / "out", {})
    ledger.add(X, result())
    assert ledger.find(X, **{**SIZE, **change}) is None


@pytest.mark.parametrize("damage", [b"", b"x" * 100, b"\xff" * 8])
def test_a_damaged_trial_is_done_again(tmp_path: Path, damage: bytes) -> None:
    ledger = Ledger.open(tmp_path / "out", {})
    ledger.add(X, result())
    (path,) = (tmp_path / "out" / LEDGER_FOLDER).iterdir()
    path.write_bytes(damage)
    assert ledger.find(X, **SIZE) is None
    ledger.add(X, result())
    assert ledger.find(X, **SIZE) is not None


def test_decisions_that_are_no_class_and_shares_that_are_none_are_not_believed(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "out", {})
    for p_ai in (-0.1, 1.1):
        ledger.add(X, result(p_ai=p_ai))
        assert ledger.find(X, **SIZE, has_p_ai=True) is None
    for decision in (-1, 2):
        ledger.add(X, result(decision))
        assert ledger.find(X, **SIZE) is None


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_file_is_no_trial_and_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    ledger = Ledger.open(tmp_path / "out", {})
    ledger.add(X, result())
    (path,) = (tmp_path / "out" / LEDGER_FOLDER).iterdir()
    path.unlink()
    {"fifo": os.mkfifo, "folder": Path.mkdir, "link": lambda p: p.symlink_to("/dev/zero")}[kind](path)
    assert ledger.find(X, **SIZE) is None


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "giant"])
def test_what_is_no_file_is_no_plan_and_is_neither_waited_for_nor_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / PLAN
    make = {"fifo": os.mkfifo, "folder": Path.mkdir, "device": lambda p: p.symlink_to("/dev/zero"), "giant": Path.touch}
    make[kind](path)
    if kind == "giant":
        os.truncate(path, 2**40)
    before = path.lstat()
    with pytest.raises(HeadsError, match=f"{PLAN} (is not a file|cannot be read|has {2**40} bytes)"):
        Ledger.open(tmp_path, {})
    assert path.lstat().st_ino == before.st_ino


def test_a_giant_is_no_trial_and_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(tmp_path / "out", {})
    ledger.add(X, result())
    (path,) = (tmp_path / "out" / LEDGER_FOLDER).iterdir()
    monkeypatch.setattr("heads.head.saved.parse_safetensors", lambda _: pytest.fail("it was read"))
    for size in (2**22, 2**40):
        os.truncate(path, size)
        assert ledger.find(X, **SIZE) is None


def test_trials_behind_a_link_are_neither_written_nor_removed(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    (elsewhere / "x.safetensors").write_text("mine")
    ledger = Ledger.open(out, {})
    (out / LEDGER_FOLDER).symlink_to(elsewhere)
    with pytest.raises(HeadsError, match="is a link, expected a folder of the ablation's own"):
        ledger.add(Y, result())
    with pytest.raises(HeadsError, match="is a link"):
        Ledger.open(out, {})
    remove_ledger(out)
    assert [path.name for path in elsewhere.iterdir()] == ["x.safetensors"]
    assert (out / LEDGER_FOLDER).is_symlink() and not (out / PLAN).exists()


def test_only_trials_and_the_plan_are_removed(tmp_path: Path) -> None:
    Ledger.open(tmp_path, {}).add(X, result())
    remove_ledger(tmp_path)
    assert not list(tmp_path.iterdir())
    Ledger.open(tmp_path, {}).add(X, result())
    strangers = {"notes.txt", "weights.safetensors", f"{X}0.safetensors", f"{X}.safetensors.txt"}
    for name in strangers:
        (tmp_path / LEDGER_FOLDER / name).write_text("mine")
    remove_ledger(tmp_path)
    assert {path.name for path in (tmp_path / LEDGER_FOLDER).iterdir()} == strangers


def test_a_ledger_removes_the_unfinished_files_of_its_own_names_alone_and_none_when_it_is_refused(
    tmp_path: Path,
) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    owner = f"{Owner.current().host}-{child.pid}-{'0' * 16}.tmp"
    (tmp_path / LEDGER_FOLDER).mkdir()
    strangers = {tmp_path / f".work.{owner}", tmp_path / LEDGER_FOLDER / f".weights.safetensors.{owner}"}
    own = {tmp_path / f".{PLAN}.{owner}", tmp_path / LEDGER_FOLDER / f".{X}.safetensors.{owner}"}
    for path in strangers | own:
        path.write_text("half")
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(HeadsError, match="is no plan"):
        Ledger.open(tmp_path, {})
    assert all(path.exists() for path in strangers | own)
    (tmp_path / PLAN).unlink()
    Ledger.open(tmp_path, {})
    assert {path for path in strangers | own if path.exists()} == strangers


def test_what_a_killed_ablation_left_unfinished_goes_when_it_goes_on(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from heads.ablation.ledger import Ledger\n"
        "import numpy as np\n"
        "from heads.ablation.ledger import TrialResult; ledger = Ledger.open(Path(sys.argv[1]), {})\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ledger.add('0' * 32, TrialResult(*[np.zeros(1)] * 4))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL and len(list((tmp_path / LEDGER_FOLDER).iterdir())) == 1
    Ledger.open(tmp_path, {})
    assert list((tmp_path / LEDGER_FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 9}', '{"format": true, "plan": {}}', '{"format": 1, "plan": []}']
)
def test_a_plan_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(HeadsError, match=PLAN):
        Ledger.open(tmp_path, {})
