"""Looking at pictures in worker processes: they see what threads see, and none of them is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.sample import ImageFile, Sample
from featcache.dataset.sample_list import SampleList
from featcache.errors import FeatcacheError
from featcache.extraction.survey import hashing
from featcache.extraction.survey.scan import scan

from factories import children, read_manifest, write_dataset


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [1, 3])
def test_processes_see_what_threads_see(tmp_path: Path, n_processes: int) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=40))
    (tmp_path / "d" / "3-real.png").unlink()
    (tmp_path / "d" / "4-real.png").write_bytes(b"no picture")
    for file in (tmp_path / "d").iterdir():
        os.utime(file, (time.time() - 3600,) * 2)  # younger ones are not remembered
    asked: list[int] = []

    def processes(n_files: int) -> int:
        asked.append(n_files)
        return n_processes

    states: list[tuple[int, int]] = []
    alone, memo = scan(manifest), tmp_path / "memo.h5"
    found = scan(manifest, memo=memo, processes=processes, progress=lambda *state: states.append(state))
    assert asked == [120] and found.n_read == alone.n_read == 120 and states[-1] == (120, 120)
    assert [(f.sample_id, f.error, f.message) for f in found.unreadable] == [
        (f.sample_id, f.error, f.message) for f in alone.unreadable
    ] and len(alone.unreadable) == 1
    for name in ("image_key", "image_status", "width", "height"):
        np.testing.assert_array_equal(getattr(found.table, name), getattr(alone.table, name))
    assert found.table.files.format.tolist() == alone.table.files.format.tolist()
    again = scan(manifest, memo=memo, processes=processes)
    assert asked == [120, 1] and again.n_read == 1  # the one that is not there


def test_readers_of_what_cannot_be_known_start_before_the_files_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, memo = read_manifest(write_dataset(tmp_path / "d", n_captions=4)), tmp_path / "memo.h5"
    for file in (tmp_path / "d").iterdir():
        os.utime(file, (time.time() - 3600,) * 2)  # younger ones are not remembered
    seen: list[object] = []
    stamp = hashing.stamp_files
    monkeypatch.setattr(hashing, "stamp_files", lambda *given: (seen.append("look"), stamp(*given))[1])

    def processes(n_files: int) -> int:
        seen.append(n_files)
        return 1

    assert scan(manifest, memo=memo, processes=processes).n_read == 12 and seen == [12, "look"]
    seen.clear()
    assert scan(manifest, memo=memo, processes=processes).n_read == 0 and seen == ["look"]
    seen.clear()
    (tmp_path / "d" / "3-real.png").write_bytes(b"another one")
    assert scan(manifest, memo=memo, processes=processes).n_read == 1 and seen == ["look", 1]


def test_no_readers_start_for_rows_of_pictures_that_are_known(tmp_path: Path) -> None:
    pictures, memo, seen = [], tmp_path / "memo.h5", list[int]()
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"%d" % number)
        os.utime(tmp_path / f"{number}.png", (time.time() - 3600,) * 2)  # younger ones are not remembered
        pictures.append(ImageFile(str(tmp_path / f"{number}.png")))

    def n_read(n_pictures: int, n_captions: int) -> int:
        rows = [(number, caption) for number in range(n_pictures) for caption in range(n_captions)]
        samples = [Sample(f"{n}-{c}", pictures[n], None, -1, None, None, None, "row") for n, c in rows]
        manifest = Manifest("d", str(tmp_path), SampleList.of(samples), (), ())
        return scan(manifest, memo=memo, processes=lambda n_files: (seen.append(n_files), 0)[1]).n_read

    assert n_read(2, 1) == 2
    seen.clear()
    assert n_read(2, 5) == 0 and not seen
    assert n_read(3, 1) == 1 and seen == [1]  # of the rows, once the others are known


@pytest.mark.slow
def test_a_killed_process_ends_the_scan_with_an_error(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=40))
    before = children()

    def kill(done: int, _total: int) -> None:
        if done:
            os.kill(min(children() - before), signal.SIGKILL)

    with pytest.raises(FeatcacheError, match=r"ended \(killed by SIGKILL\) while it looked at pictures"):
        scan(manifest, processes=lambda _: 1, progress=kill)
    assert children() == before


def test_an_interrupted_scan_leaves_no_process(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=40))
    before = children()

    def interrupt(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(manifest, processes=lambda _: 2, progress=interrupt)
    assert children() == before


def test_long_paths_and_as_many_errors_do_not_make_both_ends_wait(tmp_path: Path) -> None:
    nowhere = "/".join([str(tmp_path), *["x" * 200] * 17])
    images = [ImageFile(f"{nowhere}/{i}.png") for i in range(1200)]
    samples = [Sample(f"s{i}", image, None, -1, None, "train", None, "") for i, image in enumerate(images)]
    manifest = Manifest("far", str(tmp_path), SampleList.of(samples), (), ())
    found = scan(manifest, processes=lambda _: 1)
    assert len(found.unreadable) == 1200 and found.unreadable[0].error == "FileNotFoundError"
