from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from featcache.files.file_state import RACY_NS, FileState

LONG_AGO = 1_600_000_000


def test_settled_is_what_was_written_before_the_clock_stepped() -> None:
    now = 10 * RACY_NS
    assert FileState(1, now - RACY_NS - 1, now, 1).is_settled(now)
    assert not FileState(1, now - RACY_NS, 0, 1).is_settled(now)
    assert not FileState(1, now + RACY_NS, 0, 1).is_settled(now)


def test_what_is_not_there_has_no_state(tmp_path: Path) -> None:
    assert FileState.of(tmp_path / "x") is None
    assert FileState.of(tmp_path / "x" / ("y" * 300)) is None


def put_back(path: Path) -> None:
    path.write_bytes(b"other")
    os.utime(path, (LONG_AGO, LONG_AGO))


CHANGES: dict[str, Callable[[Path], object]] = {
    "longer": lambda path: path.write_bytes(b"longer"),
    "touched": lambda path: path.touch(),
    "written over, with the old time put back": put_back,
    "another file of the same name": lambda path: (path.rename(path.with_name("old")), path.write_bytes(b"bytes")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_done_to_a_file_shows(change: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"bytes")
    os.utime(path, (LONG_AGO, LONG_AGO))
    before = FileState.of(path)
    assert before is not None and before == FileState.of(path) and path.read_bytes() == b"bytes"
    assert before == FileState.of(path)
    time.sleep(0.02)
    CHANGES[change](path)
    assert FileState.of(path) != before


def test_a_folder_that_is_renamed_leaves_its_files_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"bytes")
    before = FileState.of(tmp_path / "a" / "x")
    (tmp_path / "a").rename(tmp_path / "b")
    assert before is not None and FileState.of(tmp_path / "b" / "x") == before
