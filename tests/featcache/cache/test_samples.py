"""The sample table: what a data set's rows are known by, and what older programs did not write."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.cache.folder import Cache
from featcache.cache.requests import read_requests
from featcache.cache.samples import SampleTable, read_samples, write_samples
from featcache.dataset.manifest import Manifest
from featcache.errors import ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.extraction.survey.reading import read_before
from featcache.files.column_file import ColumnFile
from featcache.files.string_column import StringColumn

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


def test_what_the_data_and_the_user_do_not_say_has_no_columns(tmp_path: Path) -> None:
    cache = run(tmp_path, "caption,source\na,\n")
    assert not {"row_origin.utf8", "row_origin.offsets", "columns", "root"} & columns(cache)
    table = read_samples(cache.sample_path("d"))
    assert (table.row_origin, table.columns, table.root) == (None, "", "")
    (request,) = read_requests(cache, "d")
    assert not {"columns", "root"} & request.to_document().keys()


def test_how_the_data_were_read_is_on_record_and_holds_for_the_next_time(tmp_path: Path) -> None:
    cache = run(tmp_path, "words,caption\na,b\n", columns="caption=words", root=tmp_path)
    table, (request,) = read_samples(cache.sample_path("d")), read_requests(cache, "d")
    assert (table.columns, table.root) == (request.columns, request.root) == ("caption=words", str(tmp_path))
    again = partial(Manifest.from_source, tmp_path / "d.csv", earlier=partial(read_before, cache))
    assert again().samples[0].caption == "a"
    assert any("--column caption=words" in note for note in again().notes)
    assert again(columns="caption=caption").samples[0].caption == "b"
    cache.sample_path("d").unlink()
    assert again().samples[0].caption == "a"


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


def make_table(**changes: object) -> SampleTable:
    texts = StringColumn.from_strings(["a"])
    zeros = {name: np.zeros(1, np.uint8) for name in ("image_status", "text_status")}
    keys = {name: np.ones((1, 32), np.uint8) for name in ("image_key", "text_key")}
    sizes = {name: np.zeros(1, np.uint32) for name in ("width", "height")}
    labels = {"label_a": np.zeros(1, np.int8), "label_b": np.zeros(1, np.int16)}
    table = SampleTable(
        "d", "o", ("real",), texts, texts, texts, np.array(["train"]), **labels, **keys, **zeros, **sizes
    )
    return replace(table, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rules", "labels"), [(2, ""), (2, "0=ai,1=real"), (1, "none"), (7, "ü=ai")])
def test_rules_and_what_was_stated_are_read_back(rules: int, labels: str, tmp_path: Path) -> None:
    write_samples(tmp_path / "d.h5", make_table(rules=rules, labels=labels), root=tmp_path)
    found = read_samples(tmp_path / "d.h5")
    assert (found.rules, found.labels) == (rules, labels)


def test_a_table_of_the_first_rules_has_no_column_of_them(tmp_path: Path) -> None:
    write_samples(tmp_path / "d.h5", make_table(), root=tmp_path)
    with h5py.File(tmp_path / "d.h5") as file:
        assert not {"rules", "labels"} & set(file)
    found = read_samples(tmp_path / "d.h5")
    assert (found.rules, found.labels) == (1, "")


@pytest.mark.parametrize("rules", [0, -1, 12345])
def test_rules_that_are_none_are_damage(rules: int, tmp_path: Path) -> None:
    write_samples(tmp_path / "d.h5", make_table(rules=rules, labels="none"), root=tmp_path)
    with pytest.raises(ShardError, match=rf"was read by the rules '{rules}', expected a number from 1"):
        read_samples(tmp_path / "d.h5")
