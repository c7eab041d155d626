"""Files of columns are as long as HDF5 says: nothing lies behind their end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featcache.errors import ShardError
from featcache.files.column_file import READ_ERRORS, ColumnFile

DTYPES = {"a": "int64", "b": "uint8"}


def write(path: Path, n: int) -> ColumnFile:
    columns = {"a": np.arange(n, dtype=np.int64), "b": np.zeros((n, 32), np.uint8)}
    ColumnFile(columns, 1).write(path, root=path.parent)
    return open_file(path)


def open_file(path: Path) -> ColumnFile:
    return ColumnFile.open(path, DTYPES, format_version=1, where=f"table {path.name}")


@pytest.mark.parametrize("n", [0, 1, 7, 1000, 70_000])
def test_what_is_written_is_read(tmp_path: Path, n: int) -> None:
    found = write(tmp_path / "t.h5", n)
    assert found.is_intact and found.columns["a"].tolist() == list(range(n))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"garbage\n")


@pytest.mark.parametrize("grow", [append, lambda path: os.truncate(path, 1 << 40)], ids=["bytes", "a hole"])
def test_bytes_behind_the_end_are_damage(tmp_path: Path, grow: Callable[[Path], None]) -> None:
    write(tmp_path / "t.h5", 7)
    grow(tmp_path / "t.h5")
    with pytest.raises(ShardError, match=r"^table t.h5 has \d+ bytes, its HDF5 head says \d+"):
        open_file(tmp_path / "t.h5")


def test_bytes_before_the_beginning_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    write(path, 7)
    path.write_bytes(bytes(512) + path.read_bytes())
    with pytest.raises(READ_ERRORS):
        open_file(path)


@pytest.mark.parametrize(
    ("names", "odd"),
    [("a", None), ("abc", None), ("ad", None), ("abcd", None), ("ab", "lacks column 'c'"), ("b", "lacks")],
)
def test_of_each_optional_group_all_columns_are_there_or_none(tmp_path: Path, names: str, odd: str | None) -> None:
    path = tmp_path / "t.h5"
    ColumnFile({name: np.zeros(1, np.uint8) for name in names}, 1).write(path, root=tmp_path)
    dtypes = dict.fromkeys("abcd", "uint8")

    def open_them() -> ColumnFile:
        return ColumnFile.open(path, dtypes, format_version=1, optional=("bc", "d"), where="table")

    if odd is None:
        assert sorted(open_them().columns) == sorted(names)
    else:
        with pytest.raises(ShardError, match=odd):
            open_them()
