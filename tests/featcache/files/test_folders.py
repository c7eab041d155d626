"""Laws of folders: whole or absent, whatever happens to who makes them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from featcache.errors import FeatcacheError
from featcache.files import folders
from featcache.files.folders import find_waiting, new_folder, recover_folder

MOMENTS = ("filling", "syncing", "before", "between", "after", "removing")
CHILD = """
import os, pathlib, signal, sys
from featcache.files import folders

moment, out = sys.argv[1], pathlib.Path(sys.argv[2])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def dying(real, at, after=False):
    count = 0
    def call(*arguments):
        nonlocal count
        count += 1
        if count == at and not after:
            die()
        found = real(*arguments)
        if count == at:
            die()
        return found
    return call

if "exchange" not in sys.argv:
    folders.exchange_names = lambda *_: False
if moment == "syncing":
    os.fsync = die
elif moment == "removing":
    folders.remove_draft = die
elif moment in ("before", "between", "after"):
    if "exchange" in sys.argv:
        folders.exchange_names = dying(folders.exchange_names, 1, after=moment == "after")
    else:
        at = {"before": 1, "between": 2, "after": 2}[moment]
        pathlib.Path.rename = dying(pathlib.Path.rename, at, after=moment == "after")
with folders.new_folder(out, check=lambda _: None) as draft:
    (draft / "text").write_text("new")
    if moment == "filling":
        die()
"""


def allow(_: Path) -> None:
    """Let anything be replaced."""


def fill(out: Path, text: str) -> None:
    with new_folder(out, check=allow) as draft:
        (draft / "text").write_text(text)


def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "exchange_names", lambda *_: False)


def kill_at(moment: str, out: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, moment, str(out), *words], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_takes_the_place_of_another_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        without_exchange(monkeypatch)
    for text in ("one", "two", "three"):
        fill(tmp_path / "deep" / "r", text)
        assert (tmp_path / "deep" / "r" / "text").read_text() == text
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r"]


@pytest.mark.slow
@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_command_leaves_a_whole_folder_and_the_next_one_nothing_else(
    tmp_path: Path, moment: str, can_exchange: bool
) -> None:
    out = tmp_path / "r"
    fill(out, "old")
    kill_at(moment, out, *(["exchange"] if can_exchange else []))
    assert len(list(tmp_path.iterdir())) >= 2
    recover_folder(out)
    assert (out / "text").read_text() == ("new" if moment in ("after", "removing") else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("moment", ["filling", "syncing"])
def test_what_a_killed_command_left_goes_when_the_folder_is_made_again(tmp_path: Path, moment: str) -> None:
    kill_at(moment, tmp_path / "r")
    kill_at(moment, tmp_path / "other")
    assert not (tmp_path / "r").exists()
    fill(tmp_path / "r", "whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 2 and "r" in names and any(name.startswith(".other.") for name in names)


def test_what_waits_is_found_until_it_is_put_back(tmp_path: Path) -> None:
    out = tmp_path / "r"
    assert find_waiting(out) is None
    fill(out, "old")
    kill_at("between", out)
    waiting = find_waiting(out)
    assert waiting is not None and (waiting / "text").read_text() == "old" and not out.exists()
    with new_folder(out, check=allow):
        assert (out / "text").read_text() == "old"
    assert find_waiting(out) is None


def test_what_waits_of_a_living_process_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_exchange(monkeypatch)
    out, seen = tmp_path / "r", []
    fill(out, "old")
    rename = Path.rename

    def meanwhile(self: Path, target: Path) -> Path:
        if target == out:
            recover_folder(out)
            seen.append(out.exists())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", meanwhile)
    fill(out, "new")
    assert seen == [False] and (out / "text").read_text() == "new"


def test_a_folder_whose_place_is_refused_puts_back_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_exchange(monkeypatch)
    out, rename = tmp_path / "r", Path.rename
    fill(out, "old")

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp" and target == out:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FeatcacheError, match=rf"^cannot write {out}: No space left on device$"):
        fill(out, "new")
    assert (out / "text").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path: Path) -> None:
    out, missing, ended = tmp_path / "r", [], threading.Event()
    fill(out, "old")
    if not folders.exchange_names(out, out):
        pytest.skip("names cannot be exchanged on this file system")

    def look() -> None:
        while not ended.is_set():
            if not (out / "text").exists():
                missing.append(1)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(30):
        fill(out, str(number))
    ended.set()
    watcher.join()
    assert not missing


def test_what_came_meanwhile_is_seen_before_it_is_replaced(tmp_path: Path) -> None:
    def refuse(out: Path) -> None:
        if out.exists():
            raise FeatcacheError("it is there")

    with pytest.raises(FeatcacheError, match="it is there"), new_folder(tmp_path / "r", check=refuse):
        (tmp_path / "r").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_comes_after_the_last_look_is_not_replaced_unasked(tmp_path: Path, is_folder: bool) -> None:
    out, looks = tmp_path / "r", []
    theirs = out / "theirs" if is_folder else out

    def check(_: Path) -> None:
        looks.append(1)
        if len(looks) == 3:
            theirs.parent.mkdir(exist_ok=True)
            theirs.write_text("theirs")

    with (
        pytest.raises(FeatcacheError, match=rf"^cannot write {out}: "),
        new_folder(out, check=check, overwrite=False) as draft,
    ):
        (draft / "text").write_text("ours")
    assert theirs.read_text() == "theirs" and [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_what_names_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FeatcacheError, match="expected a path that ends in the name of a folder"):
        fill(Path(out), "x")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FeatcacheError, match=r"^cannot write .*file/r: Not a directory$"):
        fill(tmp_path / "file" / "r", "x")


def test_a_folder_that_is_reached_through_a_link_is_written_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for text in ("one", "two"):
        fill(tmp_path / "link" / "r", text)
    assert (tmp_path / "real" / "r" / "text").read_text() == "two" and (tmp_path / "link").is_symlink()
