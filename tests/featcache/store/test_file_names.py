"""Samples that are called by files are drawn by their names without the endings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from featcache.cache.samples import SampleTable
from featcache.dataset.manifest import Manifest
from featcache.dataset.readers.reading import Reading
from featcache.extraction.run import extract
from featcache.extraction.survey.scan import scan
from featcache.store.file_names import draw_names, has_file_names
from featcache.store.opening import open_store

from factories import FakeSpec, make_cache, png


def fill(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    return folder


def scanned(data: Path, **options: object) -> SampleTable:
    return scan(Manifest.from_source(data, **options)).table


def test_samples_of_a_folder_are_called_by_files(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "a/1.png", "2.jpg", "3")
    assert has_file_names(scanned(data))
    assert not has_file_names(scanned(data, earlier=lambda _: Reading(rules=1)))
    assert not has_file_names(replace(scanned(data), origin=str(tmp_path)))
    (data / "2.json").write_text('{"caption": ["a", "b"]}')
    several = scanned(data)
    assert several.sample_id[0] == "2.jpg#0" and has_file_names(several)
    assert not has_file_names(replace(several, rules=2))
    (data / "table.csv").write_text("image\na/1.png\n2.jpg\n")
    assert not has_file_names(scanned(data / "table.csv"))


@pytest.mark.parametrize(("name", "drawn"), [("a/1.JPG", "a/1"), ("3", "3"), ("v1.5", "v1.5")])
def test_a_picture_is_drawn_by_its_name_without_the_ending(name: str, drawn: str) -> None:
    assert draw_names([name]) == [drawn]


def test_arrays_say_by_which_names_samples_are_drawn(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "a/1.png", "2.png")
    extract(Manifest.from_source(data), make_cache(tmp_path / "cache"), [FakeSpec("image")])
    arrays = open_store(tmp_path / "cache").arrays()
    assert arrays.draw_name is not None and arrays.draw_name.tolist() == ["2", "a/1"]
    assert arrays.select(arrays.label_a == -1).draw_name is not None
    assert "draw_name" not in arrays.strings
    (data / "table.csv").write_text("image\na/1.png\n")
    extract(Manifest.from_source(data / "table.csv"), make_cache(tmp_path / "cache"), [FakeSpec("image")])
    assert open_store(tmp_path / "cache", dataset="table").arrays().draw_name is None
