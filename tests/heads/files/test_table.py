"""Laws of tables: the same rows in three formats, block by block, and a file that is whole or absent."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from heads.errors import HeadsError
from heads.files.folder import new_file, prepare_file
from heads.files.table import Block, Schema, check_table_ending, table_writer

SCHEMA: Schema = {"name": "text", "p": "number"}
BLOCKS: list[Block] = [
    {"name": ['a"b,\n', "ü", None], "p": [0.1, None, 1.0]},
    {"p": [], "name": []},
    {"p": [0.25], "name": ["=x"]},
]
ROWS = [{"name": 'a"b,\n', "p": 0.1}, {"name": "ü", "p": None}, {"name": None, "p": 1.0}, {"name": "=x", "p": 0.25}]


def write(out: Path, blocks: list[Block], **how: bool) -> None:
    with new_file(out, **how) as file, table_writer(out, file, SCHEMA) as writer:
        for block in blocks:
            writer(block)


def read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        return [{"name": row["name"] or None, "p": float(row["p"]) if row["p"] else None} for row in found]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    rows: list[dict[str, object]] = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return rows


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "CSV"])
def test_blocks_are_rows_in_their_order(tmp_path: Path, ending: str) -> None:
    out = tmp_path / "new" / f"t.{ending}"
    write(out, BLOCKS)
    found = tmp_path / f"t.{ending.lower()}"
    out.rename(found)
    assert read(found) == ROWS


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_of_no_rows_has_its_columns(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"t.{ending}"
    write(out, [])
    assert read(out) == []
    if ending == "csv":
        assert out.read_text() == "name,p\n"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_is_whole_or_absent(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"t.{ending}"
    with pytest.raises(KeyError), new_file(out) as file, table_writer(out, file, SCHEMA) as writer:
        writer(BLOCKS[0])
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_if_that_is_wanted(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    write(out, BLOCKS[:1])
    before = out.read_bytes()
    for attempt in (lambda: prepare_file(out, overwrite=False), lambda: write(out, BLOCKS, overwrite=False)):
        with pytest.raises(HeadsError, match=r"t\.csv exists already: choose another --out, or replace it with --over"):
            attempt()
        assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]
    prepare_file(out)
    write(out, BLOCKS)
    assert read(out) == ROWS


def test_an_ending_that_there_is_not_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(HeadsError, match=r"ends in '\.xls', expected one of \.csv, \.jsonl, \.parquet$"):
        check_table_ending(tmp_path / "t.xls")
    with pytest.raises(HeadsError, match=r"ends in '', expected one of \.csv, \.jsonl, \.parquet, or else$"):
        check_table_ending(tmp_path / "t", "or else")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HeadsError, match=r"pip install 'featcache\[parquet\]'"):
        check_table_ending(tmp_path / "t.parquet")
