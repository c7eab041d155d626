from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featcache.cache.folder import Cache
from featcache.cache.shard import read_shard
from featcache.cache.shard_writing import copy_rows, write_shard
from featcache.errors import FeatcacheError
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.upkeep.gc import collect_garbage
from featcache.upkeep.repair import repair
from featcache.upkeep.status import cache_status
from featcache.upkeep.steps import next_steps
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset

IMAGE = FakeSpec("image")


def run(tmp_path: Path, n_captions: int, unit_rows: int = 4) -> Cache:
    data = write_dataset(tmp_path / "d", n_captions=n_captions)
    cache = make_cache(tmp_path / "c")
    extract(read_manifest(data), cache, [IMAGE], options=ExtractOptions(device="cpu", unit_rows=unit_rows))
    return Cache.open(cache.path)


def files(cache: Cache) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(cache.path.rglob("*")) if p.is_file()}


def keys(cache: Cache) -> list[bytes]:
    found = (read_shard(path) for path in cache.path.glob("features/**/*.h5"))
    return sorted(bytes(key) for shard in found for key in shard.map(shard.key))


def vectors(cache: Cache) -> np.ndarray:
    return open_store(cache.path).arrays().features["image"]


def test_a_cache_without_garbage_is_left_alone(tmp_path: Path) -> None:
    cache = run(tmp_path, 4)
    before = files(cache)
    for delete in (False, True):
        report = collect_garbage(cache, delete=delete, compact=delete)
        assert report.shards == report.removed == report.leftovers == () and files(cache) == before


def test_a_dry_run_tells_and_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path, 6)
    cache = run(tmp_path, 3)
    before = files(cache)
    report = collect_garbage(cache)
    assert sum(d.n_unreferenced for d in report.shards) == 9 and files(cache) == before
    assert [d.n_dead for d in report.shards if not d.is_whole] == [3]


def test_delete_removes_whole_shards_only_and_compact_the_rest(tmp_path: Path) -> None:
    run(tmp_path, 6)
    cache = run(tmp_path, 3)
    reference = vectors(cache)
    report = collect_garbage(cache, delete=True)
    assert len(report.removed) == 2 and report.published == () and len(keys(cache)) == 12
    assert verify(cache, deep=True).is_sound and verify(cache).notes == ()
    np.testing.assert_array_equal(vectors(cache), reference)
    report = collect_garbage(cache, delete=True, compact=True)
    assert len(report.removed) == len(report.published) == 1 and len(keys(cache)) == 9
    assert verify(cache, deep=True).is_sound and verify(cache).notes == ()
    np.testing.assert_array_equal(vectors(cache), reference)
    assert collect_garbage(cache).shards == () and run(tmp_path, 3).path == cache.path


def test_of_rows_that_exist_twice_those_of_the_smaller_name_stay(tmp_path: Path) -> None:
    cache = run(tmp_path, 2)
    first = read_shard(sorted(cache.path.glob("features/**/*.h5"))[0])
    twin = first.path.with_name("f" * 32 + ".h5")
    assert copy_rows(first, np.arange(first.n_rows), twin, root=twin.parent)
    (dead,) = collect_garbage(cache).shards
    assert dead.path == twin and dead.is_whole and dead.n_duplicate == first.n_rows and dead.n_unreferenced == 0
    reference = vectors(cache)
    assert collect_garbage(cache, delete=True).removed == (twin,)
    np.testing.assert_array_equal(vectors(cache), reference)
    assert len(keys(cache)) == 6


def test_a_copy_with_the_very_name_of_the_compacted_shard_is_kept(tmp_path: Path) -> None:
    cache = run(tmp_path, 2, unit_rows=3)
    run(tmp_path, 2, unit_rows=3)
    small = sorted(cache.path.glob("features/**/*.h5"))
    shards = [read_shard(path) for path in small]
    everything = np.concatenate([np.array(s.map(s.key)) for s in shards])
    stranger = np.full((1, 32), 9, np.uint8)

    features = np.concatenate([np.array(s.map(s.outputs["pooled"])) for s in shards] + [np.ones((1, 4))])
    first = small[0].with_name("0" * 32 + ".h5")
    write_shard(first, shards[0].header, np.concatenate([everything[:3], stranger]), {
        "pooled": np.concatenate([features[:3], features[-1:]]).astype(np.float32)
    }, root=first.parent)  # fmt: skip
    reference = vectors(cache)
    collect_garbage(cache, delete=True, compact=True)
    np.testing.assert_array_equal(vectors(cache), reference)
    assert len(keys(cache)) == 6 and verify(cache, deep=True).is_sound


def test_nothing_is_removed_from_a_damaged_cache(tmp_path: Path) -> None:
    run(tmp_path, 6)
    cache = run(tmp_path, 3)
    victim = sorted(cache.path.glob("features/**/*.h5"))[0]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    before = files(cache)
    with pytest.raises(FeatcacheError, match=r"run `featcache repair` first"):
        collect_garbage(cache, delete=True)
    assert files(cache) == before


@pytest.mark.parametrize("is_alone", [True, False])
def test_vectors_of_a_data_set_whose_table_is_in_quarantine_stay(tmp_path: Path, is_alone: bool) -> None:
    cache = run(tmp_path, 2)
    if not is_alone:
        other = read_manifest(write_dataset(tmp_path / "other", n_captions=1))
        extract(other, cache, [IMAGE], options=ExtractOptions(device="cpu"))
    os.truncate(cache.sample_path("d"), cache.sample_path("d").stat().st_size - 50)
    (moved,) = repair(cache.path).moved
    before = files(cache)
    for delete in (False, True):
        with pytest.raises(FeatcacheError, match=r"'d' is in quarantine.*`featcache status .*delete") as e:
            collect_garbage(cache, delete=delete)
        assert str(moved.path) in str(e.value) and files(cache) == before
    command = next_steps(cache_status(cache))[0].command
    assert command[:3] == ("featcache", "extract", str(tmp_path / "d" / "manifest.csv"))
    again = run(tmp_path, 2)
    assert collect_garbage(again, delete=True).removed == () and moved.path.is_file()
    if not is_alone:
        again.sample_path("d").unlink()
        moved.path.unlink()
        with pytest.raises(
            FeatcacheError, match=r"'d' was there and is gone: .* delete requests/d and failures/samples"
        ):
            collect_garbage(again, delete=True)
        for folder in ("requests", "failures/samples"):
            shutil.rmtree(again.path / folder / "d")
        assert len(collect_garbage(again, delete=True).removed) > 0


def test_a_cache_without_data_sets_is_refused(tmp_path: Path) -> None:
    cache = run(tmp_path, 2)
    cache.sample_path("d").unlink()
    with pytest.raises(FeatcacheError, match="everything would go"):
        collect_garbage(cache, delete=True)


@pytest.mark.parametrize("delete", [False, True])
def test_vectors_of_a_data_set_of_which_only_a_request_is_left_stay(tmp_path: Path, delete: bool) -> None:
    cache = run(tmp_path, 2)
    extract(
        read_manifest(write_dataset(tmp_path / "other", n_captions=1)),
        cache, [IMAGE], options=ExtractOptions(device="cpu"),
    )  # fmt: skip
    cache.sample_path("d").unlink()
    shutil.rmtree(cache.path / "failures")
    assert verify(cache, deep=True).is_sound
    before = files(cache)
    with pytest.raises(FeatcacheError, match=r"'d' has no sample table.*delete .*requests/d"):
        collect_garbage(cache, delete=delete)
    assert files(cache) == before


def test_leftovers_go_when_nobody_has_touched_them_for_a_day_and_the_quarantine_never(tmp_path: Path) -> None:
    cache = run(tmp_path, 2)
    old = time.time() - 2 * 86_400
    young = cache.path / "samples" / ".tmp-h-1-c"
    stale = [cache.path / "samples" / ".tmp-h-1-a", cache.path / "claims" / "scan" / "unit.json"]
    kept = [cache.path / "quarantine" / "t" / ".tmp-h-1-b", young, cache.path / "claims" / "x" / "unit.json"]
    kept += [cache.path / "claims" / "thesis.txt", cache.path / "notes" / ".tmp-x", cache.path / "claims" / "my.json"]
    for path in (*stale, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        if path != young:
            os.utime(path, (old, old))
    assert set(collect_garbage(cache).leftovers) == set(stale)
    report = collect_garbage(cache, delete=True)
    assert set(report.removed) == set(stale) and all(p.exists() for p in kept) and not any(p.exists() for p in stale)


DYING = """
import os, pathlib, signal, sys
from featcache.cache.folder import Cache
from featcache.upkeep.gc import collect_garbage

def half(temp, data):
    with temp.open("wb") as file:
        file.write(bytes(data)[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

pathlib.Path.write_bytes = half
collect_garbage(Cache.open(pathlib.Path(sys.argv[1])), delete=True, compact=True)
"""


def test_what_a_killed_gc_left_goes_with_the_next(tmp_path: Path) -> None:
    run(tmp_path, 6)
    cache = run(tmp_path, 3)
    killed = subprocess.run([sys.executable, "-c", DYING, str(cache.path)], check=False)
    (temp,) = cache.path.rglob(".tmp-*")
    notes = list(cache.path.glob("claims/leases/*.json"))
    assert killed.returncode == -signal.SIGKILL and len(notes) == 2
    assert set(collect_garbage(cache).leftovers) == {temp, *notes}
    report = collect_garbage(cache, delete=True, compact=True)
    assert temp in report.removed and report.published and not list(cache.path.rglob(".tmp-*"))
    assert verify(cache, deep=True).is_sound and verify(cache).notes == ()
    assert not list(cache.path.glob("claims/leases/*.json"))


def test_while_an_extraction_is_at_work_nothing_is_removed(tmp_path: Path) -> None:
    cache = run(tmp_path, 2)
    (cache.path / "claims" / "scan").mkdir(parents=True)
    (cache.path / "claims" / "scan" / "d.json").write_text("{}")
    with pytest.raises(FeatcacheError, match="extraction is at work"):
        collect_garbage(cache, delete=True)
