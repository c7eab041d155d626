"""A name is held by one process at a time, for as long as it makes the file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from heads.errors import HeadsError
from heads.files.folder import new_file, reserve_file


def test_who_comes_second_is_refused_at_once_unless_the_file_may_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "v.csv"
    with reserve_file(out):
        time.sleep(0.05)  # of two in one tick of the clock of files the name decides
        with pytest.raises(HeadsError, match=r"v\.csv is being written by process \d+: wait, or choose another --out"):
            reserve_file(out).__enter__()
        with reserve_file(out, overwrite=True), reserve_file(tmp_path / "w.csv"):
            assert len(list(tmp_path.iterdir())) == 3
        with new_file(out, overwrite=False) as file:
            file.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["v.csv"]
    with pytest.raises(HeadsError, match="exists already"):
        reserve_file(out).__enter__()


def test_what_a_killed_process_held_is_free_and_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from heads.files.folder import reserve_file\n"
        "with reserve_file(Path(sys.argv[1])): os._exit(0)"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, tmp_path / "v.csv"], cwd=root, check=True)
    assert len(list(tmp_path.iterdir())) == 1
    with reserve_file(tmp_path / "v.csv"):
        assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(HeadsError, match=r"there is no folder .*nope; make it, or correct the name"):
        reserve_file(tmp_path / "nope" / "v.csv").__enter__()
    assert not list(tmp_path.iterdir())
