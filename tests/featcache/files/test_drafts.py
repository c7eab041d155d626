"""Laws of drafts: those of the dead go, those of the living stay, and so does what nobody here named."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featcache.files import drafts
from featcache.files.drafts import draft_beside, find_drafts, sweep_drafts
from featcache.files.owner import Owner

DAY = 24 * 3600
ANY = re.compile(".+", re.DOTALL)


@pytest.fixture(scope="module")
def dead() -> Owner:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return Owner(Owner.current().host, child.pid, "0" * 8)


def name_of(owner: Owner, name: str = "r", kind: str = "tmp") -> str:
    return f".{name}.{owner.host}-{owner.pid}-{owner.process}00000000.{kind}"


def make(path: Path) -> Path:
    path.mkdir()
    (path / "x").write_text("x")
    return path


def pass_days(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    later = time.time() + days * DAY
    monkeypatch.setattr(drafts.time, "time", lambda: later)


def test_a_draft_tells_whose_it_is_and_what_it_is_for(tmp_path: Path) -> None:
    final = tmp_path / "x.y"
    path = make(draft_beside(final))
    (found,) = find_drafts(tmp_path, ANY)
    assert (found.path, found.final, found.is_old, found.owner) == (path, final, False, Owner.current())
    assert draft_beside(final) != path


def test_the_draft_of_a_dead_process_goes_and_that_of_a_living_one_stays(
    tmp_path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        living = Owner(dead.host, child.pid, "1" * 8)
        mine = make(draft_beside(tmp_path / "r"))
        make(tmp_path / name_of(dead))
        (tmp_path / name_of(dead, "s")).write_text("half a file")
        theirs = make(tmp_path / name_of(living))
        pass_days(monkeypatch, 30)
        sweep_drafts(tmp_path, ANY)
        assert set(tmp_path.iterdir()) == {mine, theirs}
        child.communicate(b"\n")
    sweep_drafts(tmp_path, ANY)
    assert set(tmp_path.iterdir()) == {mine}


@pytest.mark.parametrize("name", [".r.elsewhere-1-0011223344556677.tmp", ".r.0123456789ab.tmp"])
def test_the_draft_of_who_is_not_known_here_goes_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make(tmp_path / name)
    pass_days(monkeypatch, 0.99)
    sweep_drafts(tmp_path, "r")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    pass_days(monkeypatch, 1.01)
    sweep_drafts(tmp_path, "r")
    assert not list(tmp_path.iterdir())


def test_drafts_of_another_name_and_names_that_are_no_drafts_stay(
    tmp_path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        name_of(dead, "rr"),
        name_of(dead)[1:],
        name_of(dead) + ".bak",
        ".r.tmp",
        ".r..tmp",
        ".r.0123456789a.tmp",
        ".r.0123456789aX.tmp",
        f".r.{dead.host}-{dead.pid}-zzzz.tmp",
        f".r.{dead.host}-{dead.pid}-{'0' * 16}.bak",
    ]
    for name in names:
        make(tmp_path / name)
    pass_days(monkeypatch, 30)
    sweep_drafts(tmp_path, "r")
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_of_a_form_of_names_the_drafts_of_no_other_go(tmp_path: Path, dead: Owner) -> None:
    for name in ("r1", "r22", "work", "r.1"):
        make(tmp_path / name_of(dead, name))
    sweep_drafts(tmp_path, "r.")  # a name, not a form
    sweep_drafts(tmp_path, re.compile(r"r\d"))
    assert {path.name for path in tmp_path.iterdir()} == {name_of(dead, name) for name in ("r22", "work", "r.1")}


def test_a_link_named_like_a_draft_stays_and_links_in_drafts_are_not_followed(tmp_path: Path, dead: Owner) -> None:
    precious = make(tmp_path / "precious")
    (tmp_path / name_of(dead)).symlink_to(precious)
    (make(tmp_path / name_of(dead, "s")) / "link").symlink_to(precious)
    sweep_drafts(tmp_path, ANY)
    assert {path.name for path in tmp_path.iterdir()} == {"precious", name_of(dead)}
    assert (precious / "x").read_text() == "x"


def test_what_was_there_before_stays_while_nothing_is_there_now(tmp_path: Path, dead: Owner) -> None:
    old = make(tmp_path / name_of(dead, kind="old"))
    sweep_drafts(tmp_path, ANY)
    assert old.exists()
    make(tmp_path / "r")
    sweep_drafts(tmp_path, ANY)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_folder_that_is_not_there_has_no_drafts(tmp_path: Path) -> None:
    sweep_drafts(tmp_path / "nowhere", ANY)
    assert list(find_drafts(tmp_path / "nowhere", ANY)) == []
