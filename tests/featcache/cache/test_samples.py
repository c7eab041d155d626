"""The sample table: what a data set's rows are known by, and what older programs did not write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache.folder import Cache
from featcache.cache.requests import read_requests, reading_rules
from featcache.cache.samples import read_samples, write_samples
from featcache.dataset.manifest import Manifest
from featcache.errors import ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.column_file import ColumnFile
from featcache.files.string_column import StringColumn
from featcache.identity.reading import EARLY, NEWEST, Reading

from factories import FakeSpec, make_cache


def run(folder: Path, text: str, **options: object) -> Cache:
    folder.mkdir(exist_ok=True)
    (folder / "d.csv").write_text(text, encoding="utf-8")
    cache = make_cache(folder / "cache")
    manifest = Manifest.from_source(folder / "d.csv", **options)  # type: ignore[arg-type]
    extract(manifest, cache, [FakeSpec("text", ("cls",))], options=ExtractOptions(device="cpu"))
    return cache


def columns(cache: Cache) -> set[str]:
    with h5py.File(cache.sample_path("d")) as file:
        return set(file)


def test_where_rows_come_from_is_kept_beside_where_the_table_does(tmp_path: Path) -> None:
    cache = run(tmp_path, "caption,source\na,web é\nb,\nc,scan\n")
    table = read_samples(cache.sample_path("d"))
    assert table.row_origin is not None and list(table.row_origin) == ["web é", "", "scan"]
    assert (table.origin, list(table.source)) == (str(tmp_path / "d.csv"), [""] * 3)


def test_without_origins_a_table_has_no_column_for_them(tmp_path: Path) -> None:
    cache = run(tmp_path, "caption,source\na,\n")
    assert not {"row_origin.utf8", "row_origin.offsets"} & columns(cache)
    assert read_samples(cache.sample_path("d")).row_origin is None


def test_a_table_read_by_the_first_rules_has_the_columns_of_old_ones(tmp_path: Path) -> None:
    cache = run(tmp_path, "caption\na\n", rules=1)
    assert "reading" not in columns(cache) and read_samples(cache.sample_path("d")).reading == EARLY
    (request,) = read_requests(cache, "d")
    assert "reading" not in request.to_document() and request.reading == EARLY


def test_how_the_data_were_read_is_on_record_with_the_table_and_the_request(tmp_path: Path) -> None:
    cache = run(tmp_path, "words\na\n", columns={"caption": "words"}, root=tmp_path)
    expected = Reading(columns=(("caption", "words"),), root=str(tmp_path))
    assert read_samples(cache.sample_path("d")).reading == expected
    assert [request.reading for request in read_requests(cache, "d")] == [expected]


def test_a_data_set_keeps_the_rules_of_its_first_reading_even_where_its_table_is_lost(tmp_path: Path) -> None:
    for rules in (1, 2):
        cache = run(tmp_path / str(rules), "caption\na\n", rules=rules)
        assert reading_rules(cache, "d") == rules
        cache.sample_path("d").write_bytes(b"damaged")
        assert reading_rules(cache, "d") == rules
        cache.sample_path("d").unlink()
        assert reading_rules(cache, "d") == rules
        assert reading_rules(cache, "other") == NEWEST.rules
    assert reading_rules(Cache(tmp_path / "imagined", cache.defaults), "d") == NEWEST.rules


@pytest.mark.parametrize("text", ["", "{", '{"rules": 3}', '{"rules": 2, "x": 1}', "[]", '{"rules": 2, "root": 1}'])
def test_a_table_that_says_badly_how_it_was_read_is_damaged(text: str, tmp_path: Path) -> None:
    path = run(tmp_path, "caption\na\n").sample_path("d")
    with h5py.File(path) as file:
        found = {name: file[name][()] for name in file}
    found["reading"] = np.frombuffer(text.encode(), np.uint8)
    ColumnFile(found, 1, ("dataset", "origin")).write(path, root=tmp_path)
    with pytest.raises(ShardError, match=r"says badly how its data were read: "):
        read_samples(path)


@pytest.mark.parametrize("lost", ["row_origin.utf8", "row_origin.offsets"])
def test_half_a_column_of_origins_is_damage(lost: str, tmp_path: Path) -> None:
    path = run(tmp_path, "caption,origin\na,x\n").sample_path("d")
    with h5py.File(path) as file:
        found = {name: file[name][()] for name in file if name != lost}
    ColumnFile(found, 1, ("dataset", "origin")).write(path, root=tmp_path)
    with pytest.raises(ShardError, match=f"lacks column '{lost}'"):
        read_samples(path)


def test_origins_of_another_number_of_rows_are_damage(tmp_path: Path) -> None:
    path = run(tmp_path, "caption,origin\na,x\nb,y\n").sample_path("d")
    table = replace(read_samples(path), row_origin=StringColumn.from_strings(["x"]))
    write_samples(path, table, root=tmp_path)
    with pytest.raises(ShardError, match=r"column 'row_origin\.offsets' has shape"):
        read_samples(path)
