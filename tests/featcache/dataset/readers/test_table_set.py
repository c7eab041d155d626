"""Several tables are one: columns by name, paths from each one's folder, splits by names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from featcache.dataset.readers.reading import TODAY
from featcache.dataset.readers.table import Table
from featcache.dataset.readers.table_set import TablePart, join_tables


def part(name: str, rows: Sequence[dict[str, object]]) -> TablePart:
    header = tuple(rows[0])
    table = Table(name, header, lambda positions: [[row[header[p]] for row in rows] for p in positions])
    return TablePart(table, name, len(rows))


def test_columns_are_joined_by_name_and_paths_begin_in_each_ones_folder() -> None:
    joined = join_tables(
        [part("a/x.csv", [{"image": "1.jpg", "text": "t"}]), part("b.csv", [{"url": "u", "image": "/abs/2.jpg"}])],
        "/d",
        TODAY,
    )
    assert joined.header == ("image", "text", "url")
    assert joined.load([0, 1, 2]) == [["a/1.jpg", "/abs/2.jpg"], ["t", None], [None, "u"]]
    assert [joined.where(row) for row in (0, 1)] == ["a/x.csv, row 1", "b.csv, row 1"]
    lines = replace(part("c.csv", [{"text": "a"}]), rows=[6])
    named = replace(lines, table=replace(lines.table, row_name=lambda row: f"line {row + 2}"))
    assert join_tables([named], "/d", TODAY).where(0) == "c.csv, line 8"
    assert [joined.default_id(row) for row in (0, 1)] == ["a/x/row-1", "b/row-1"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train/metadata.csv", "validation/metadata.jsonl"), ["train", "valid"]),
        (("train-0.parquet", "test-0.parquet"), ["train", "test"]),
        (("train/a.csv", "other/a.csv"), ["train", None]),
        (("train/a.csv", "train/b.csv"), None),
        (("a.csv", "b.csv"), None),
    ],
)
def test_names_give_splits_unless_all_are_train(names: tuple[str, str], splits: list[str | None] | None) -> None:
    joined = join_tables([part(name, [{"image": "1.jpg"}]) for name in names], "/d", TODAY)
    assert (joined.load([1]) if "split" in joined.header else [None]) == [splits]
