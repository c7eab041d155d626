"""The index and the memos: nothing is lost with them, but a folder in the place of the index stops extractions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featcache.cache.folder import Cache
from featcache.cache.memo import Memo
from featcache.errors import FeatcacheError
from featcache.extraction.run import ExtractOptions, extract
from featcache.upkeep.repair import repair
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset

IMAGE = FakeSpec("image")


def run(folder: Path) -> Cache:
    if not (folder / "d").exists():
        write_dataset(folder / "d")
        for picture in (folder / "d").glob("*.png"):
            os.utime(picture, (1e9, 1e9))  # what is younger than two seconds is not remembered
    cache = make_cache(folder / "c")
    extract(read_manifest(folder / "d" / "manifest.csv"), cache, [IMAGE], options=ExtractOptions(device="cpu"))
    return Cache.open(cache.path)


def test_a_folder_in_the_place_of_the_index_is_named_and_moved_aside(tmp_path: Path) -> None:
    cache = run(tmp_path)
    path = cache.path / "index.json"
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("x")
    with pytest.raises(FeatcacheError, match=r"index\.json is a folder, .* `featcache repair` does"):
        run(tmp_path)
    for deep in (False, True):
        (problem,) = verify(cache, deep=deep).problems
        assert problem.path == path and "`featcache repair` moves it aside" in problem.message
    (moved,) = repair(cache.path).moved
    assert (moved.path / "mine.txt").read_text() == "x" and verify(cache, deep=True).is_sound
    run(tmp_path)
    assert verify(cache, deep=True).is_sound and verify(cache, deep=True).notes == ()


def test_a_folder_in_the_place_of_a_memo_is_a_note(tmp_path: Path) -> None:
    cache, path = run(tmp_path), tmp_path / "c" / "memo" / "d.h5"
    path.unlink()
    path.mkdir()
    run(tmp_path)
    report = verify(cache)
    assert report.is_sound and "reads all pictures until it is moved" in report.notes[0].message


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"\x89HDF\r\n\x1a\n", None])
def test_a_damaged_memo_is_a_note_that_the_next_extraction_settles(damage: bytes | None, tmp_path: Path) -> None:
    cache, path = run(tmp_path), tmp_path / "c" / "memo" / "d.h5"
    assert len(Memo.load(path)) == 18 and verify(cache, deep=True).notes == ()
    data = bytearray(path.read_bytes())
    position = data.index(b"checksum") if damage is None else 0
    data[position] ^= 1
    path.write_bytes(bytes(data) if damage is None else damage)
    report = verify(cache, deep=True)
    assert report.is_sound and [note.path for note in report.notes] == [path]
    assert "nothing is lost: the next extract" in report.notes[0].message and len(Memo.load(path)) == 0
    assert repair(cache.path).moved == () and verify(cache).notes == ()
    run(tmp_path)
    assert len(Memo.load(path)) == 18 and verify(cache, deep=True).notes == ()
