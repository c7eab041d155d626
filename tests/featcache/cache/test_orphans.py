from __future__ import annotations

from pathlib import Path

import pytest

from featcache.cache.failures import read_failure_file
from featcache.cache.orphans import Orphans, read_orphans, write_orphans
from featcache.errors import ShardError
from featcache.files.sealed import replace_sealed


def test_orphans_are_counted_in_full_and_named_in_part(tmp_path: Path) -> None:
    path = tmp_path / "orphans.json"
    assert read_orphans(path) == Orphans()
    write_orphans(path, [f"line {i}\x1b" for i in range(2500)], root=path.parent)
    found = read_orphans(path)
    assert found.n == 2500 and len(found.lines) == 1000 and found.lines[0] == "line 0\x1b"
    assert read_failure_file(path) == ()  # whoever reads it as a list of failures finds none


def test_broken_parts_stand_beside_orphans_and_are_none_in_early_files(tmp_path: Path) -> None:
    path = tmp_path / "orphans.json"
    write_orphans(path, ["a"], [f"tar {i}" for i in range(1001)], root=path.parent)
    found = read_orphans(path)
    assert (found.n, found.n_broken, len(found.broken), found.broken[-1]) == (1, 1001, 1000, "tar 999")
    replace_sealed(
        path,
        {"format_version": 1, "unit": "orphans", "failures": [], "n_orphans": 1, "orphans": ["a"]},
        root=path.parent,
    )
    assert read_orphans(path) == Orphans(1, ("a",))


MALFORMED = (
    "{", "{}", "[1]", '{"format_version": 1, "n_orphans": "3", "orphans": []}',
    '{"format_version": 1, "n_orphans": 0, "orphans": [], "n_broken": 1, "broken": "x"}',
)  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_list_of_orphans_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(ShardError):
        read_orphans(tmp_path / "o.json")


def test_an_edited_list_of_orphans_is_refused(tmp_path: Path) -> None:
    write_orphans(tmp_path / "o.json", ["a"], root=tmp_path)
    (tmp_path / "o.json").write_text((tmp_path / "o.json").read_text().replace('"a"', '"b"'))
    with pytest.raises(ShardError, match="checksum"):
        read_orphans(tmp_path / "o.json")


@pytest.mark.parametrize("kind", ["orphans", "broken"])
def test_a_list_of_more_lines_than_are_ever_written_is_refused(kind: str, tmp_path: Path) -> None:
    document = {"format_version": 1, "unit": "orphans", "failures": [], "n_orphans": 0, "orphans": []}
    document |= {f"n_{kind}": 1001, kind: ["x"] * 1001}
    replace_sealed(tmp_path / "orphans.json", document, root=tmp_path)
    with pytest.raises(ShardError, match="has 1001 lines, expected at most 1000"):
        read_orphans(tmp_path / "orphans.json")
