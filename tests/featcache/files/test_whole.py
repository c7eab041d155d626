from __future__ import annotations

import errno
from pathlib import Path

import pytest

from featcache.errors import FeatcacheError
from featcache.files.whole import publish_bytes, replace_bytes


def test_of_files_published_under_one_name_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    assert publish_bytes(path, b"first", root=tmp_path)
    assert not publish_bytes(path, b"second", root=tmp_path)
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]


def test_of_files_put_in_one_place_the_last_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    for data in (b"first", memoryview(b"second")):
        replace_bytes(path, data, root=tmp_path)
    assert path.read_bytes() == b"second" and list(path.parent.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_what_was_there_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(temp: Path, data: bytes) -> None:
        temp.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for write in (publish_bytes, replace_bytes):
        with pytest.raises(FeatcacheError, match=rf"^{path} cannot be written: No space left on device; what was"):
            write(path, b"new", root=tmp_path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
