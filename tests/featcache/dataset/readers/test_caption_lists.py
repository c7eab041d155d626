"""Several captions in the text of one cell: lists where all are lists, and said where only some are."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading


def read(folder: Path, cells: list[str], *, kind: str = "csv", rules: int = 3) -> Manifest:
    path = folder / f"m.{kind}"
    names = [f"{row}.jpg" for row in range(len(cells))]
    for name in names:
        (folder / name).write_bytes(b"x")
    if kind == "parquet":
        pq.write_table(pa.table({"image": names, "caption": cells}), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["image", "caption"], *zip(names, cells, strict=True)])
    return Manifest.from_source(path, earlier=lambda _: Reading(rules=rules))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_of_json_lists_gives_a_sample_for_each_caption(kind: str, tmp_path: Path) -> None:
    cells = ['["a", "b"]', '["c"] ', "", "nan", "[]", '[null, "d, e"]']
    manifest = read(tmp_path, cells, kind=kind)
    assert [(s.sample_id, s.caption, s.group) for s in manifest.samples] == [
        ("0.jpg#0", "a", "0.jpg"),
        ("0.jpg#1", "b", "0.jpg"),
        ("1.jpg#0", "c", "1.jpg"),
        ("2.jpg", None, None),
        ("3.jpg", None, None),
        ("4.jpg", None, None),
        ("5.jpg#1", "d, e", "5.jpg"),
    ]
    assert manifest.notes == ("1 caption such as 'nan': taken for missing",)


@pytest.mark.parametrize("other", ["a cat", "['c', 'd']", "[1]", "[]]", '["a"', "[" * 10_000 + "]"])
def test_lists_among_other_captions_are_text_and_told(other: str, tmp_path: Path) -> None:
    cells = ['["a", "b"]', other]
    manifest = read(tmp_path, cells)
    assert [s.caption for s in manifest.samples] == cells
    (note,) = manifest.notes
    assert "taken as text; lists are read where all captions are, as JSON" in note and '\'["a", "b"]\'' in note


def test_a_known_table_keeps_lists_as_text(tmp_path: Path) -> None:
    manifest = read(tmp_path, ['["a", "b"]'], rules=2)
    assert [(s.sample_id, s.caption) for s in manifest.samples] == [("0.jpg", '["a", "b"]')]
