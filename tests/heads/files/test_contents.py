"""Laws of contents: what is read is what was recorded, whole, and no longer than it may be."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from heads.errors import HeadsError
from heads.files.contents import Contents

DATA = {"a": b"first", "b": b"second"}
SUMS = {name: hashlib.sha256(data).hexdigest() for name, data in DATA.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in DATA.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_a_file_is_read_whole(folder: Path) -> None:
    assert Contents(folder).read("a", limit=5) == b"first"
    assert Contents(folder, SUMS).read("a", limit=5) == b"first"


def test_a_file_that_is_longer_than_it_may_be_is_refused(folder: Path) -> None:
    with pytest.raises(HeadsError, match=r"a has 5 bytes, expected at most 4$"):
        Contents(folder).read("a", limit=4)
    with pytest.raises(HeadsError, match=r"b has 6 bytes, expected at most 5$"):
        Contents(folder, SUMS).check_unread(limit=5)


def test_other_bytes_than_those_on_record_are_never_returned(folder: Path) -> None:
    contents = Contents(folder, {"a": SUMS["b"]})
    for name in ("a", "b"):
        with pytest.raises(HeadsError, match=f"{name} does not have the checksum on record"):
            contents.read(name, limit=10)


def test_a_file_that_nobody_read_is_checked_too(folder: Path) -> None:
    contents = Contents(folder, SUMS)
    contents.read("a", limit=10)
    (folder / "a").write_bytes(b"what was read is what was checked")
    contents.check_unread(limit=10)
    (folder / "b").write_bytes(b"SECOND")
    with pytest.raises(HeadsError, match="a does not have the checksum on record"):
        Contents(folder, SUMS).check_unread(limit=99)
    (folder / "a").write_bytes(DATA["a"])
    with pytest.raises(HeadsError, match="b does not have the checksum on record"):
        Contents(folder, SUMS).check_unread(limit=99)


def test_what_is_no_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("/dev/zero")
    for name in ("fifo", "folder", "link", "nothing", "a/b", "nu\0l"):
        with pytest.raises(HeadsError, match="is not a file"):
            Contents(folder).read(name, limit=10)
    with pytest.raises(HeadsError, match="cannot be read: File name too long"):
        Contents(folder).read("n" * 1000, limit=10)
