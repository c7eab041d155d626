"""What lies below a folder is looked at once, and only as far as needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.dataset.readers import tree
from featcache.dataset.readers.tree import is_metadata, read_tree

JPEG = b"\xff\xd8\xff\xe0 and what follows"


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)
    return folder


def test_files_beside_pictures_are_found_by_stem_and_ending(tmp_path: Path) -> None:
    found = read_tree(fill(tmp_path, "a/1.jpg", "a/1.TXT", "a/1.json", "2.caption", "a/metadata.csv"), is_early=False)
    assert found.pictures == ("a/1.jpg",) and found.metadata == ("a/metadata.csv",) and not found.has_tars
    assert found.sidecars == {"a/1": {".txt": "a/1.TXT", ".json": "a/1.json"}, "2": {".caption": "2.caption"}}
    assert found.texts() == (["2.caption"], [])


def test_files_of_unknown_endings_are_looked_at_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_MAX_LOOKS", 2)
    found = read_tree(fill(tmp_path, "1.qqq", "2.qqq", "3.qqq", "4", "5"), is_early=False)
    assert [each.names for each in found.left_out] == [("1.qqq", "2.qqq")]
    assert found.pictures == ()
    assert read_tree(fill(tmp_path / "none", "4", "5"), is_early=False).pictures == ("4", "5")


def test_files_that_are_no_pictures_by_their_endings_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(tree, "read_head", lambda path: opened.append(Path(path).name) or b"")
    read_tree(fill(tmp_path, "1.jpg", "1.txt", "1.json", "2.mp4", "3.npy", "4.dng", "5", "6.odd"), is_early=False)
    assert opened == ["5", "6.odd"]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("metadata.csv", True), ("Metadata.JSONL", True), ("metadata.parquet", True), ("metadata.json", False)],
)
def test_tables_of_metadata_have_three_names(name: str, is_one: bool) -> None:
    assert is_metadata(name) == is_one
