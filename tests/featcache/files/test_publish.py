"""A name, once visible, is complete, and is never taken from its first owner."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from featcache.errors import FeatcacheError
from featcache.files import publish
from featcache.files.inside import walk_inside
from featcache.files.owner import Owner
from featcache.files.publish import (
    TEMP_PREFIX,
    create_exclusive,
    is_leftover,
    owner_of,
    publish_new,
    remove_leftovers,
    replace_file,
    temporary_beside,
)
from featcache.files.sealed import write_sealed


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", link)


def publish_text(final: Path, text: str) -> bool:
    with temporary_beside(final, root=final.parent) as temp:
        temp.write_text(text)
        return publish_new(temp, final)


def race(final: Path, n: int = 8) -> list[bool]:
    barrier, won = threading.Barrier(n), [False] * n

    def writer(i: int) -> None:
        barrier.wait()
        won[i] = publish_text(final, str(i))

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


@pytest.mark.usefixtures("no_hard_links")
def test_without_hard_links_exactly_one_of_many_writers_wins(tmp_path: Path) -> None:
    for attempt in range(10):
        final = tmp_path / f"f{attempt}"
        won = race(final)
        assert sum(won) == 1 and final.read_text() == str(won.index(True))
    assert len(list(tmp_path.iterdir())) == 10


def test_with_hard_links_exactly_one_of_many_writers_wins(tmp_path: Path) -> None:
    for attempt in range(10):
        final = tmp_path / f"f{attempt}"
        won = race(final)
        assert sum(won) == 1 and final.read_text() == str(won.index(True))


@pytest.mark.usefixtures("no_hard_links")
def test_without_hard_links_a_name_is_never_replaced(tmp_path: Path) -> None:
    assert publish_text(tmp_path / "f", "first") and not publish_text(tmp_path / "f", "second")
    assert (tmp_path / "f").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("no_hard_links")
def test_the_turn_of_a_writer_that_was_killed_in_it_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_TURN_SECONDS", 0.1)
    assert create_exclusive(tmp_path / f"{TEMP_PREFIX}turn-f", b"", root=tmp_path)
    assert publish_text(tmp_path / "f", "mine") and [p.name for p in tmp_path.iterdir()] == ["f"]


class Clock:
    """Time that passes only while somebody sleeps; at ``jump`` something happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.at_start, self.longest = 1000.0, 1000.0, 0.0
        self.jump, self.happens = float("inf"), lambda: None
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.longest = max(self.longest, seconds)
        if self.now - self.at_start >= self.jump:
            self.jump = float("inf")
            self.happens()

    @property
    def passed(self) -> float:
        return self.now - self.at_start


@pytest.mark.usefixtures("no_hard_links")
def test_a_writer_looks_often_and_waits_ten_seconds_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    create_exclusive(tmp_path / f"{TEMP_PREFIX}turn-f", b"", root=tmp_path)
    assert publish_text(tmp_path / "f", "mine")
    assert clock.passed == pytest.approx(10, abs=0.1) and clock.longest < 0.1


@pytest.mark.usefixtures("no_hard_links")
def test_a_turn_that_is_over_passes_at_once_even_after_a_long_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, turn = Clock(monkeypatch), tmp_path / f"{TEMP_PREFIX}turn-f"
    create_exclusive(turn, b"", root=tmp_path)
    clock.jump, clock.happens = 5, turn.unlink
    assert publish_text(tmp_path / "f", "mine") and clock.passed == pytest.approx(5, abs=0.1)


@pytest.mark.usefixtures("no_hard_links")
def test_whoever_waits_for_a_turn_gives_way_to_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turn = Clock(monkeypatch), tmp_path / f"{TEMP_PREFIX}turn-f"
    create_exclusive(turn, b"", root=tmp_path)
    clock.jump, clock.happens = 5, lambda: (tmp_path / "f").write_text("theirs")
    assert not publish_text(tmp_path / "f", "mine")
    assert clock.passed == pytest.approx(5, abs=0.1) and (tmp_path / "f").read_text() == "theirs"


@pytest.mark.usefixtures("no_hard_links")
def test_of_two_who_find_a_killed_writers_turn_the_second_waits_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other took it away, and made its own, between our look at the clock and our removing it."""
    clock, turn = Clock(monkeypatch), tmp_path / f"{TEMP_PREFIX}turn-f"
    create_exclusive(turn, b"", root=tmp_path)
    clock.jump, clock.happens = 10.005, turn.unlink
    monkeypatch.setattr(publish, "create_exclusive", lambda *_, **__: clock.passed > 15)
    assert publish_text(tmp_path / "f", "mine") and clock.passed == pytest.approx(15, abs=0.1)


@pytest.mark.usefixtures("no_hard_links")
def test_a_turn_that_was_taken_away_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def rename_late(path: Path, target: Path) -> Path:
        (tmp_path / f"{TEMP_PREFIX}turn-f").unlink()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_late)
    assert publish_text(tmp_path / "f", "mine") and (tmp_path / "f").read_text() == "mine"


@pytest.mark.usefixtures("no_hard_links")
def test_a_name_that_appears_before_our_turn_is_kept_and_the_turn_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_late(path: Path, data: bytes, *, root: Path) -> bool:
        (tmp_path / "f").write_text("theirs")
        return create_exclusive(path, data, root=root)

    monkeypatch.setattr(publish, "create_exclusive", create_late)
    assert not publish_text(tmp_path / "f", "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["f"] and (tmp_path / "f").read_text() == "theirs"


def test_a_file_takes_the_place_of_another_but_not_of_a_folder(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with temporary_beside(tmp_path / "f", root=tmp_path) as temp:
            temp.write_text(text)
            replace_file(temp, tmp_path / "f")
        assert (tmp_path / "f").read_text() == text
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(FeatcacheError, match=f"^{tmp_path}/folder is a folder, expected a file or nothing"),
        temporary_beside(tmp_path / "folder", root=tmp_path) as temp,
    ):
        temp.write_text("x")
        replace_file(temp, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "folder"]


def test_an_error_that_is_not_about_links_is_no_reason_to_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="full"):
        publish_text(tmp_path / "f", "x")
    assert list(tmp_path.iterdir()) == []


def test_an_exclusive_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "f"
    assert create_exclusive(path, b"1", root=tmp_path) and not create_exclusive(path, b"2", root=tmp_path)
    assert path.read_bytes() == b"1"


def test_whoever_may_read_and_write_other_files_may_do_so_with_an_exclusive_one(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        create_exclusive(tmp_path / "f", b"", root=tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o664


def temp_of(folder: Path, owner: Owner, *, age: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{TEMP_PREFIX}{owner.host}-{owner.pid}-{owner.process}00000000"
    path.write_bytes(b"half a shard")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_leftovers_of_dead_processes_go_and_files_of_living_ones_stay(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host, day = Owner.current().host, 25 * 3600
    dead = temp_of(tmp_path / "a" / "b", Owner(host, int(done.stdout), "0" * 8))
    namesake = temp_of(tmp_path, Owner(host, os.getpid(), "0" * 8))
    old_elsewhere = temp_of(tmp_path / "a", Owner("elsewhere", 1, "0" * 8), age=day)
    stay = [
        temp_of(tmp_path, Owner.current(), age=day),
        temp_of(tmp_path, Owner(host, os.getppid(), "0" * 8), age=day),
        temp_of(tmp_path / "a", Owner("elsewhere", 2, "0" * 8)),
        temp_of(tmp_path / "a", Owner("elsewhere", 3, "0" * 8), age=-day),
    ]
    published = tmp_path / "shard.h5"
    published.write_bytes(b"x")
    os.utime(published, (0, 0))
    assert remove_leftovers(walk_inside(tmp_path, root=tmp_path)) == 3
    assert not any(path.exists() for path in (dead, namesake, old_elsewhere))
    assert all(path.exists() for path in (*stay, published))


@pytest.mark.parametrize(("seconds", "is_left"), [(-5, False), (5, True)])
def test_a_file_of_somebody_elsewhere_is_left_over_after_a_day(tmp_path: Path, seconds: int, is_left: bool) -> None:
    age = 24 * 3600 + seconds
    assert is_leftover(temp_of(tmp_path, Owner("elsewhere", 1, "0" * 8), age=age)) is is_left


def test_only_files_are_left_over(tmp_path: Path) -> None:
    folder, link, gone = (tmp_path / f"{TEMP_PREFIX}{name}" for name in ("folder", "link", "gone"))
    folder.mkdir()
    link.symlink_to(tmp_path)
    for path in (folder, link):
        os.utime(path, (0, 0), follow_symlinks=False)
    assert not any(map(is_leftover, (folder, link, gone)))


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (f"{TEMP_PREFIX}h-12-0123456789abcdef", Owner("h", 12, "01234567")),
        (f"{TEMP_PREFIX}h-12-01234567", Owner("h", 12, "01234567")),
        (f"{TEMP_PREFIX}h-12-0123456", None),
        (f"{TEMP_PREFIX}h-x-01234567", None),
        ("h-12-01234567", None),
    ],
)
def test_an_owner_is_read_from_a_whole_name_only(name: str, owner: Owner | None) -> None:
    assert owner_of(Path(name)) == owner


@pytest.mark.parametrize("name", ["", "x", "-", "a-b-c", "h-1", "h--00000000", "h-99999999999999999999-000000000000"])
def test_a_temporary_file_with_an_odd_name_goes_after_a_day(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{TEMP_PREFIX}{name}"
    path.write_bytes(b"")
    assert remove_leftovers(walk_inside(tmp_path, root=tmp_path)) == 0
    os.utime(path, (0, 0))
    assert remove_leftovers(walk_inside(tmp_path, root=tmp_path)) == 1


def test_the_name_of_a_temporary_file_tells_its_owner(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "f", root=tmp_path) as temp:
        temp.write_bytes(b"")
        assert re.fullmatch(f"{TEMP_PREFIX}{Owner.current().host}-{os.getpid()}-[0-9a-f]{{16}}", temp.name)
        assert owner_of(temp) == Owner.current()
        assert remove_leftovers(walk_inside(tmp_path, root=tmp_path)) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "is_dead"),
    [
        (Owner("elsewhere", 1, "x"), False),
        (Owner.current(), False),
        (Owner(Owner.current().host, os.getpid(), "x"), True),
        (Owner(Owner.current().host, 1, "x"), False),
        (Owner(Owner.current().host, 0, "x"), False),
        (Owner(Owner.current().host, -1, "x"), False),
        (Owner(Owner.current().host, 10**30, "x"), False),
    ],
)
def test_a_process_is_dead_only_if_that_is_certain(owner: Owner, is_dead: bool) -> None:
    assert owner.is_dead is is_dead


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system, where not even a file that is not there can be removed."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("write_bytes", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(FeatcacheError, match=f"^folder {tmp_path} cannot be written: Read-only file system"):
        write_sealed(tmp_path / "x.json", {}, root=tmp_path)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(FeatcacheError, match=f"^folder {tmp_path}/new cannot be made: Read-only file system"):
        write_sealed(tmp_path / "new" / "x.json", {}, root=tmp_path)
