"""A forecast is what the extraction then does, and writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from featcache.cache.folder import Cache, Defaults
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.vision import ImageSpec
from featcache.errors import FeatcacheError
from featcache.extraction.forecast import forecast_extraction
from featcache.extraction.partition import Partition
from featcache.extraction.run import ExtractOptions, extract

from factories import FakeSpec, make_cache, read_manifest, write_dataset, write_vision

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image")
SMALL = ExtractOptions(device="cpu", batch_size=4, workers=2, unit_rows=4)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_forecast_for_a_cache_that_does_not_exist_makes_none(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    cache = Cache(tmp_path / "deep" / "c", Defaults("float32", "float16"))
    found = forecast_extraction(data, cache, [TEXT, IMAGE], options=SMALL, timed=True)
    assert [(s.n_contents, s.n_cached, s.n_todo, s.n_units) for s in found.sides] == [(6, 0, 6, 2), (18, 0, 18, 5)]
    assert not (tmp_path / "deep").exists() and found.free_bytes > 0


def test_a_forecast_changes_no_byte_of_a_cache(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=4)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    extract(read_manifest(data), make_cache(tmp_path / "c"), [IMAGE], options=SMALL)
    before = files(tmp_path / "c")
    grown = read_manifest(write_dataset(tmp_path / "d", n_captions=6))
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    for timed in (False, True):
        found = forecast_extraction(grown, make_cache(tmp_path / "c"), [TEXT, IMAGE], options=SMALL, timed=timed)
        image = found.sides[1]
        assert (image.n_contents, image.n_cached, image.n_failed, image.n_todo) == (18, 11, 1, 6)
    assert files(tmp_path / "c") == before
    done = extract(grown, make_cache(tmp_path / "c"), [TEXT, IMAGE], options=SMALL)
    assert [side.n_encoded for side in done.sides] == [side.n_todo for side in found.sides]


@pytest.mark.parametrize("timed", [False, True])
def test_a_forecast_refuses_the_division_that_the_extraction_refuses(tmp_path: Path, timed: bool) -> None:
    data, cache = read_manifest(write_dataset(tmp_path / "d")), make_cache(tmp_path / "c")

    def part(index: int, count: int, **how: Any) -> ExtractOptions:
        return replace(SMALL, unit_rows=None, partition=Partition(index, count), **how)

    def foretold(options: ExtractOptions) -> int:
        return forecast_extraction(data, cache, [IMAGE], options=options, timed=timed).sides[0].n_todo

    assert foretold(part(0, 8)) > 0 and not list(tmp_path.rglob("plans"))
    extract(data, cache, [IMAGE], options=part(0, 4))
    before = files(tmp_path / "c")
    with pytest.raises(FeatcacheError, match="in 4 parts, expected --shard i/4, found 1/8"):
        foretold(part(1, 8))
    assert foretold(part(1, 4)) > 0 and foretold(part(1, 8, refreeze=True)) > 0 and foretold(SMALL) > 0
    assert files(tmp_path / "c") == before


def test_the_disk_foretold_is_about_what_the_shards_take(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    spec = FakeSpec("image", width=2000)
    found = forecast_extraction(data, make_cache(tmp_path / "c"), [spec], options=SMALL, timed=True)
    extract(data, make_cache(tmp_path / "c"), [spec], options=SMALL)
    taken = sum(p.stat().st_size for p in (tmp_path / "c").glob("features/**/*.h5"))
    assert found.n_bytes == pytest.approx(taken, rel=0.1)


def test_what_nobody_knows_is_said_to_be_unknown(tmp_path: Path) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    shy = FakeSpec("image", tells_widths=False)
    found = forecast_extraction(data, make_cache(tmp_path / "c"), [shy], options=SMALL)
    assert found.n_bytes is None and found.seconds is None
    assert json.loads(json.dumps(found.to_dict()))["n_bytes"] is None


def test_stored_shards_tell_the_width(tmp_path: Path) -> None:
    shy = FakeSpec("image", tells_widths=False)
    few = read_manifest(write_dataset(tmp_path / "d", n_captions=4))
    extract(few, make_cache(tmp_path / "c"), [shy], options=SMALL)
    grown = read_manifest(write_dataset(tmp_path / "d", n_captions=6))
    assert forecast_extraction(grown, make_cache(tmp_path / "c"), [shy], options=SMALL).n_bytes is not None


def test_a_models_configuration_tells_the_width(tmp_path: Path) -> None:
    for kind in ("clip", "clip-full", "dinov2"):
        spec = ImageSpec(resolve_model(str(write_vision(tmp_path / kind, kind))))
        data = read_manifest(write_dataset(tmp_path / "d"))
        known = forecast_extraction(data, make_cache(tmp_path / "c"), [spec], options=SMALL)
        timed = forecast_extraction(data, make_cache(tmp_path / "c"), [spec], options=SMALL, timed=True)
        assert known.n_bytes == timed.n_bytes and known.n_bytes


def test_the_time_is_nothing_where_nothing_is_to_be_done_and_unknown_if_all_of_the_batch_fail(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=1)
    image = FakeSpec("image")
    extract(read_manifest(data), make_cache(tmp_path / "c"), [image], options=SMALL)
    calls = len(image.log)
    done = forecast_extraction(read_manifest(data), make_cache(tmp_path / "c"), [image], options=SMALL, timed=True)
    assert done.seconds == 0 and len(image.log) == calls
    for path in (tmp_path / "d").glob("*.png"):
        path.write_bytes(b"no picture")
    broken = forecast_extraction(read_manifest(data), make_cache(tmp_path / "e"), [image], options=SMALL, timed=True)
    assert broken.seconds is None


def test_a_forecast_of_a_retry_counts_failures_only(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", n_captions=4)
    (tmp_path / "d" / "0-real.png").write_bytes(b"no picture")
    extract(read_manifest(data), make_cache(tmp_path / "c"), [IMAGE], options=SMALL)
    options = ExtractOptions(device="cpu", unit_rows=4, retry_failed=True)
    (side,) = forecast_extraction(read_manifest(data), make_cache(tmp_path / "c"), [IMAGE], options=options).sides
    assert (side.n_todo, side.n_failed, side.n_new, side.n_cached) == (1, 0, 0, 11)


def test_only_one_batch_is_encoded_to_tell_the_time(tmp_path: Path) -> None:
    image = FakeSpec("image")
    data = read_manifest(write_dataset(tmp_path / "d"))
    found = forecast_extraction(data, make_cache(tmp_path / "c"), [image], options=SMALL, timed=True)
    assert set(image.log) == {4} and found.seconds is not None and found.seconds > 0
