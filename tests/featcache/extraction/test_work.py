"""How an extraction is cut into units is a function of what is asked for and of the data set alone."""

from __future__ import annotations

from pathlib import Path

from featcache.extraction.options import ExtractOptions
from featcache.extraction.partition import Partition
from featcache.extraction.survey.scan import scan
from featcache.extraction.work import Work

from factories import FakeSpec, read_manifest, write_dataset

IMAGE = FakeSpec("image")


def test_units_are_so_short_that_their_vectors_fit_into_memory(tmp_path: Path) -> None:
    table = scan(read_manifest(write_dataset(tmp_path / "d"))).table
    wide = FakeSpec("image", tuple(f"layers:{k}" for k in range(24)), width=1024)
    rows = [Work.of([wide], views).unit_rows(table, ExtractOptions()) for views in ("clean", "train", "train,report")]
    assert rows[0] == 4096 and rows[0] > rows[1] > rows[2] and rows[2] * 16 * 24 * 1024 * 4 <= 512 << 20
    assert Work.of([IMAGE], "train").unit_rows(table, ExtractOptions(unit_rows=9)) == 9


def test_every_part_of_a_division_has_units(tmp_path: Path) -> None:
    table = scan(read_manifest(write_dataset(tmp_path / "d"))).table
    work = Work.of([IMAGE, FakeSpec("text", ("cls",))])
    assert [work.unit_rows(table, ExtractOptions(partition=Partition(0, n))) for n in (1, 2, 4)] == [4096, 2, 1]


def test_captions_come_before_pictures_and_have_no_views() -> None:
    text = FakeSpec("text", ("cls",))
    assert Work.of([IMAGE, text], "clean,hflip").items == ((text, ("clean",)), (IMAGE, ("clean", "hflip")))
    assert Work.of([IMAGE, text]).contents == ("text", "image")
