"""What is remembered of sound shards is a shortcut: lost, damaged or in the way, it costs time and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.cache.checked import Checked, read_checked, remember_checked
from featcache.files.file_state import FileState
from featcache.files.sealed import replace_sealed

ONE, TWO = (Checked(FileState(size, 10**18, 10**18, size), "ab" * 32) for size in (1, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the shards of a cache ``c`` are, in a view that has a dot in its name."""
    folder = tmp_path / "c" / "features" / "0123456789ab" / "blur:1.5"
    folder.mkdir(parents=True)
    for name in ("a.h5", "b.h5"):
        (folder / name).write_bytes(b"")
    return folder


def memory(folder: Path) -> Path:
    return folder.parents[2] / "memo" / "checked" / folder.parent.name / f"{folder.name}.json"


def test_what_is_remembered_is_read_again(folder: Path, tmp_path: Path) -> None:
    assert read_checked(tmp_path / "c", folder) == {}
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    assert read_checked(tmp_path / "c", folder) == {"a.h5": ONE} and memory(folder).is_file()


def test_what_others_remembered_is_kept_and_what_is_gone_is_dropped(folder: Path, tmp_path: Path) -> None:
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE, "b.h5": ONE, "gone.h5": ONE})
    remember_checked(tmp_path / "c", folder, {"b.h5": TWO})
    assert read_checked(tmp_path / "c", folder) == {"a.h5": ONE, "b.h5": TWO}
    (folder / "a.h5").unlink()
    remember_checked(tmp_path / "c", folder, {"b.h5": ONE})
    assert read_checked(tmp_path / "c", folder) == {"b.h5": ONE}


def test_names_are_relative_to_the_cache(folder: Path, tmp_path: Path) -> None:
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    moved = (tmp_path / "c").rename(tmp_path / "moved")
    assert read_checked(moved, moved / folder.relative_to(tmp_path / "c")) == {"a.h5": ONE}
    assert str(tmp_path) not in (moved / memory(folder).relative_to(tmp_path / "c")).read_text()


DAMAGED = (
    b"", b"{}", b"[1]", b"\xff\xfe", b'{"format_version": 1, "shards": {}}', {"format_version": 2, "shards": {}},
    {"format_version": 1}, {"format_version": 1, "shards": []}, {"format_version": 1, "shards": {"a.h5": 3}},
    {"format_version": 1, "shards": {"a.h5": []}}, {"format_version": 1, "shards": {"a.h5": [1, 2, 3, ""]}},
    {"format_version": 1, "shards": {"a.h5": [1, 2, 3, None, ""]}},
    {"format_version": 1, "shards": {"a.h5": [1, 2, 3, 4, 5, ""]}},
)  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=str)
def test_a_damaged_memory_is_an_empty_one(folder: Path, tmp_path: Path, content: bytes | dict[str, object]) -> None:
    memory(folder).parent.mkdir(parents=True)
    if isinstance(content, bytes):
        memory(folder).write_bytes(content)
    else:
        replace_sealed(memory(folder), content, root=memory(folder).parent)
    assert read_checked(tmp_path / "c", folder) == {}
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    assert read_checked(tmp_path / "c", folder) == {"a.h5": ONE}


def test_a_memory_in_which_a_digit_changed_is_an_empty_one(folder: Path, tmp_path: Path) -> None:
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    memory(folder).write_text(memory(folder).read_text().replace(str(10**18), str(10**18 + 1)))
    assert read_checked(tmp_path / "c", folder) == {}


@pytest.mark.parametrize("place", ["memo", "memo/checked", "memo/checked/0123456789ab"])
def test_where_nothing_can_be_written_nothing_is_remembered(folder: Path, tmp_path: Path, place: str) -> None:
    path = tmp_path / "c" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where the folder should be")
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    assert read_checked(tmp_path / "c", folder) == {} and path.read_text().startswith("a file")


@pytest.mark.parametrize("place", ["memo", "memo/checked", "memo/checked/0123456789ab"])
def test_nothing_is_remembered_through_a_link(folder: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "c" / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "c" / place).symlink_to(tmp_path / "elsewhere")
    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_leaves_what_was_remembered(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    remember_checked(tmp_path / "c", folder, {"a.h5": ONE})
    monkeypatch.setattr(Path, "write_bytes", full)
    remember_checked(tmp_path / "c", folder, {"b.h5": TWO})
    assert read_checked(tmp_path / "c", folder) == {"a.h5": ONE} and not list(tmp_path.rglob(".tmp-*"))
