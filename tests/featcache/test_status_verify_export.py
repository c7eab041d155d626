from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featcache.cache import Cache
from featcache.errors import FeatcacheError
from featcache.export import export_npz
from featcache.extract import ExtractOptions, extract
from featcache.index import update_index
from featcache.status import cache_status
from featcache.store import open_store
from featcache.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    data = write_dataset(tmp_path / "d", caption=["", *[f"c{i}" for i in range(17)]])
    (tmp_path / "d" / "1-beta.png").write_bytes(b"broken")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", width=3)]
    made = make_cache(tmp_path / "c")
    extract(read_manifest(data), made, specs, options=ExtractOptions(device="cpu", unit_rows=4))
    return Cache.open(made.path)


def a_shard(cache: Cache) -> Path:
    return sorted(cache.path.glob("features/**/*.h5"))[0]


def test_status_counts_what_is_there_and_what_is_not(cache: Cache) -> None:
    status = cache_status(cache)
    (dataset,) = status.datasets
    assert dataset.n_samples == 18 and dataset.splits == {"train": 12, "valid": 3, "test": 3}
    assert dataset.classes == {"real": 6, "alpha": 6, "beta": 6} and dataset.n_without == {"text": 1, "image": 0}
    covered = {c.output: (c.n_contents, c.n_stored, c.n_failed, c.n_missing) for c in dataset.coverage}
    assert covered == {"cls": (17, 17, 0, 0), "pooled": (18, 17, 1, 0)}
    assert sum(p.n_rows for p in status.producers) == 34 and status.n_missing == 0
    json.dumps(status.to_dict(), allow_nan=False)


def test_status_says_what_a_lost_shard_costs(cache: Cache) -> None:
    a_shard(cache).unlink()
    assert cache_status(Cache.open(cache.path)).n_missing == 4


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_cache_is_sound(cache: Cache, deep: bool) -> None:
    report = verify(cache, deep=deep)
    assert report.is_sound and report.n_shards == 10 and report.n_rows == 34


def test_a_flipped_bit_is_found_by_deep_and_names_the_file(cache: Cache) -> None:
    victim = a_shard(cache)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    assert verify(cache).is_sound
    (problem,) = verify(cache, deep=True).problems
    assert problem.path == victim and "another checksum" in problem.message


def test_a_lost_shard_and_a_truncated_one_are_found_without_reading_data(cache: Cache) -> None:
    first, second = sorted(cache.path.glob("features/**/*.h5"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])
    found = {p.path for p in verify(cache).problems}
    assert found == {first, second}


def test_a_swapped_shard_is_found(cache: Cache) -> None:
    (text, *_), (image, *_) = (sorted(p.glob("clean/*.h5")) for p in sorted((cache.path / "features").iterdir()))
    image.write_bytes(text.read_bytes())
    assert any("holds rows of producer" in p.message for p in verify(cache).problems)


def test_a_lost_or_edited_producer_is_found(cache: Cache) -> None:
    one, two = sorted((cache.path / "encoders").iterdir())
    one.unlink()
    two.write_text(two.read_text().replace('"w0"', '"w1"'))
    messages = [p.message for p in verify(Cache.open(cache.path)).problems]
    assert sum("has no readable document" in m for m in messages) == 2 and any("was changed" in m for m in messages)


def test_damaged_failures_and_tables_are_found(cache: Cache) -> None:
    failure = next(p for p in cache.path.glob("failures/*/clean/*.json"))
    failure.write_text('{"format_version": 1, "failures": [{"key": 1}]}')
    table = cache.sample_path("d")
    table.write_bytes(table.read_bytes()[:2000])
    assert len(verify(cache).problems) == 2


def test_an_index_rebuilt_from_the_shards_is_the_same(cache: Cache) -> None:
    index = cache.path / "index.json"
    before = index.read_text()
    index.unlink()
    update_index(cache)
    assert index.read_text() == before


def test_an_export_holds_aligned_rows_and_nan_where_a_side_is_missing(cache: Cache, tmp_path: Path) -> None:
    export_npz(open_store(cache.path).arrays(), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as out:
        assert out["text"].dtype == out["image"].dtype == np.float32 and out["text"].shape == (18, 4)
        assert np.flatnonzero(~out["text_present"]).tolist() == [0]
        assert out["sample_id"][~out["image_present"]].tolist() == ["1-beta"]
        np.testing.assert_array_equal(np.isnan(out["image"]).all(1), ~out["image_present"])
        assert out["label_b"].tolist() == [0, 1, 2] * 6 and out["class_names"].tolist() == ["real", "alpha", "beta"]
        assert set(out["split"].tolist()) == {"train", "valid", "test"}


def test_an_export_to_another_ending_is_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(FeatcacheError, match=r"ends in .npz"):
        export_npz(open_store(cache.path).arrays(), tmp_path / "out.csv")
