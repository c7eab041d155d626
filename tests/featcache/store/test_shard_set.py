from __future__ import annotations

import mmap
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache.folder import Cache, unit_name
from featcache.cache.index import update_index
from featcache.cache.shard import ShardHeader, read_shard
from featcache.cache.shard_writing import write_shard
from featcache.errors import ShardError
from featcache.store.maps import ShardMaps
from featcache.store.shard_set import ShardSet

from factories import FakeSpec, make_cache

SPEC = FakeSpec("image")
WIDTHS = {"pooled": 5, "cls": 3}


def write_set(cache: Cache, sizes: list[int], outputs: tuple[str, ...] = ("pooled", "cls"), first: int = 0) -> None:
    cache.add_producer(SPEC.fingerprint)
    for size in sizes:
        keys, vectors = keys_of(first, size), {o: vectors_of(o, first, size) for o in outputs}
        name = unit_name(keys, "clean", outputs)
        header = ShardHeader(SPEC.fingerprint.digest, "clean", "float16")
        write_shard(
            cache.shard_folder(SPEC.fingerprint, "clean") / f"{name}.h5", header, keys, vectors, root=cache.path
        )
        first += size


def keys_of(first: int, n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1000, 32), dtype=np.uint8)[first : first + n]


def vectors_of(output: str, first: int, n: int) -> np.ndarray:
    everything = np.random.default_rng(len(output)).standard_normal((1000, WIDTHS[output])).astype(np.float16)
    return everything[first : first + n].astype(np.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    cache = make_cache(tmp_path_factory.mktemp("cache"))
    write_set(cache, [40, 1, 7, 100, 52])
    update_index(cache)
    return ShardSet.open(cache, SPEC.fingerprint, "clean")


@given(st.lists(st.integers(0, 219), max_size=60), st.permutations(["pooled", "cls"]), st.integers(1, 2), st.data())
def test_rows_are_read_as_written_in_any_order(
    shards: ShardSet, wanted: list[int], outputs: list[str], n_outputs: int, data: st.DataObject
) -> None:
    """Contents 200 and above are in no shard."""
    outputs = outputs[:n_outputs]
    expected = np.hstack([vectors_of(o, 0, 220) for o in outputs])
    expected[200:] = np.nan
    rows = shards.find(outputs, keys_of(0, 220))
    if data.draw(st.booleans()):
        rows = rows.at_random()
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    indices = np.array(wanted, np.int64)
    np.testing.assert_array_equal(rows.read(indices, dtype=dtype), expected[indices].astype(dtype))
    np.testing.assert_array_equal(rows.select(indices).read(np.arange(len(indices))), expected[indices])
    vectors, found = shards.gather(outputs, keys_of(0, 220)[indices])
    np.testing.assert_array_equal(vectors, expected[indices])
    np.testing.assert_array_equal(found, indices < 200)


def test_more_rows_than_are_read_at_once_come_out_in_order(shards: ShardSet) -> None:
    indices = np.random.default_rng(1).integers(0, 200, 10_000)
    rows = shards.find(["pooled"], keys_of(0, 200))
    np.testing.assert_array_equal(rows.read(indices), vectors_of("pooled", 0, 200)[indices])


def test_out_is_filled_and_must_fit(shards: ShardSet) -> None:
    rows = shards.find(["pooled"], keys_of(0, 200))
    out = np.zeros((3, 5), np.float32)
    assert rows.read(np.array([5, 199, 5]), out=out) is out
    np.testing.assert_array_equal(out, vectors_of("pooled", 0, 200)[[5, 199, 5]])
    with pytest.raises(ValueError, match=r"expected \(2, 5\) of float16 or wider"):
        rows.read(np.array([1, 2]), out=out)
    with pytest.raises(IndexError):
        rows.read(np.array([200]))


def test_no_rows_are_no_rows(shards: ShardSet, tmp_path: Path) -> None:
    assert shards.find(["pooled"], keys_of(0, 0)).read(np.empty(0, np.int64)).shape == (0, 5)
    assert shards.find(["pooled"], keys_of(300, 4)).read(np.arange(4)).shape == (4, 5)
    empty = ShardSet.open(make_cache(tmp_path / "c"), SPEC.fingerprint, "clean")
    assert empty.shards == () and empty.widths == {}


def test_few_maps_are_open_at_once_and_all_rows_are_still_read(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c")
    write_set(cache, [3] * 60, ("pooled",))
    shards = ShardSet.open(cache, SPEC.fingerprint, "clean")
    shards.__dict__["_maps"] = ShardMaps(shards.shards, limit=4)
    rows = shards.find(["pooled"], keys_of(0, 180))
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    order = np.random.default_rng(0).permutation(180)
    for part in np.array_split(order, 9):
        np.testing.assert_array_equal(rows.read(part), vectors_of("pooled", 0, 180)[part])
    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    assert after - before <= 4


def test_looking_keys_up_leaves_no_file_open(shards: ShardSet) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("counts open files in /proc")
    before = len(list(Path("/proc/self/fd").iterdir()))
    shards.forget_keys()
    assert shards.contains("pooled", keys_of(195, 10)).sum() == 5
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_indexed_shard_is_opened_without_hdf5(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("featcache.store.shard_set.read_shard", refuse)
    monkeypatch.setattr("featcache.cache.shard.read_shard", refuse)
    cache = Cache.open(shards.shards[0].path.parents[3])
    again = ShardSet.open(cache, SPEC.fingerprint, "clean")
    np.testing.assert_array_equal(again.keys("cls"), shards.keys("cls"))


def write_one(cache: Cache, spec: FakeSpec, view: str, name: str, outputs: tuple[str, ...] = ("pooled",)) -> Path:
    """Write a shard of ten rows, the same keys whatever it is of."""
    cache.add_producer(spec.fingerprint)
    path = cache.shard_folder(spec.fingerprint, view) / f"{name}.h5"
    vectors = {o: np.random.default_rng(0).standard_normal((10, 5)).astype(np.float32) for o in outputs}
    write_shard(path, ShardHeader(spec.fingerprint.digest, view, "float16"), keys_of(0, 10), vectors, root=path.parent)
    return path


OTHER = FakeSpec("image", weights="w1")
STRANGERS = {
    "another producer": (OTHER, "clean", ("pooled",)),
    "another view": (SPEC, "clear", ("pooled",)),
    "a view that begins alike": (SPEC, "clean+jpeg:50", ("pooled",)),
    "another output": (SPEC, "clean", ("prooled",)),
    "outputs of the same names elsewhere": (SPEC, "clean", ("prooled", "pooled")),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_shard_swapped_behind_the_index_is_refused_before_it_is_read(stranger: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c")
    spec, view, outputs = STRANGERS[stranger]
    mine = ("aoooled", "pooled") if len(outputs) == 2 else ("pooled",)
    victim = write_one(cache, SPEC, "clean", "a", mine)
    other = write_one(cache, spec, view, "b", outputs)
    assert victim.stat().st_size == other.stat().st_size
    update_index(cache)
    shards, whole = (ShardSet.open(cache, SPEC.fingerprint, "clean") for _ in range(2))
    rows = whole.find(["pooled"], keys_of(0, 10))
    shutil.copyfile(other, victim)
    again = ShardSet.open(Cache.open(cache.path), SPEC.fingerprint, "clean")
    for each in (shards, again):
        with pytest.raises(ShardError, match=r"a\.h5 holds .* moved or swapped, run `featcache verify`"):
            each.contains("pooled", keys_of(0, 10))
    with pytest.raises(ShardError, match="moved or swapped"):
        rows.read(np.arange(10))
    with pytest.raises(ShardError, match="moved or swapped"):
        rows.at_random().read(np.arange(10))


def test_another_shard_of_one_layout_is_read_whatever_the_index_knows(tmp_path: Path) -> None:
    """Rows are found by the keys in the file itself."""
    cache = make_cache(tmp_path / "c")
    write_set(cache, [7], ("pooled",))
    write_set(cache, [7], ("pooled",), first=7)
    update_index(cache)
    one, other = ShardSet.open(cache, SPEC.fingerprint, "clean").shards
    shutil.copyfile(one.path, other.path)
    shards = ShardSet.open(Cache.open(cache.path), SPEC.fingerprint, "clean")
    vectors, found = shards.gather(["pooled"], keys_of(0, 14))
    assert found.sum() == 7
    np.testing.assert_array_equal(vectors[found], vectors_of("pooled", 0, 14)[found])


def test_rows_survive_pickling_without_their_maps(shards: ShardSet) -> None:
    rows = shards.find(["pooled", "cls"], keys_of(0, 200))
    before = rows.read(np.arange(200))
    copy = pickle.loads(pickle.dumps(rows))
    assert copy.maps.opened("pooled", False) == {}
    np.testing.assert_array_equal(copy.read(np.arange(200)), before)


@pytest.mark.parametrize("size", [0, 100])
def test_a_shard_that_was_cut_after_opening_is_refused_not_mapped(tmp_path: Path, size: int) -> None:
    cache = make_cache(tmp_path / "c")
    write_set(cache, [20])
    shards = ShardSet.open(cache, SPEC.fingerprint, "clean")
    rows = shards.find(["pooled"], keys_of(0, 20))
    shards.forget_keys()
    os.truncate(shards.shards[0].path, size)
    with pytest.raises(ShardError, match=f"has {size} bytes, expected"):
        rows.read(np.arange(3))
    with pytest.raises(ShardError, match=f"has {size} bytes, expected"):
        shards.contains("pooled", keys_of(0, 1))


def test_outputs_in_different_shards_are_joined_where_both_are_there(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "c")
    write_set(cache, [10, 10], ("pooled",))
    write_set(cache, [12], ("cls",), first=4)
    shards = ShardSet.open(cache, SPEC.fingerprint, "clean")
    vectors, found = shards.gather(["cls", "pooled"], keys_of(0, 20))
    np.testing.assert_array_equal(np.flatnonzero(found), np.arange(4, 16))
    both = np.hstack([vectors_of("cls", 4, 12), vectors_of("pooled", 4, 12)])
    np.testing.assert_array_equal(vectors[4:16], both)
    assert np.isnan(vectors[~found]).all()


def test_outputs_beyond_the_first_huge_page_are_mapped_in_whole_ones(tmp_path: Path) -> None:
    """Rows of three outputs of 1.4 MB: the second crosses the edge of a huge page, the third ends at the file's end."""
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (700, 32), dtype=np.uint8)
    vectors = {o: rng.standard_normal((700, 1024)).astype(np.float32) for o in ("a", "b", "c")}
    path = tmp_path / "shard.h5"
    write_shard(path, ShardHeader(SPEC.fingerprint.digest, "clean", "float32"), keys, vectors, root=path.parent)
    shard = read_shard(path)
    maps = ShardMaps([shard])
    for output, expected in vectors.items():
        found = maps.get(0, output, is_random=False)
        np.testing.assert_array_equal(found, expected)
        block, whole = shard.outputs[output], memory_of(found)
        start = block.offset - block.offset % 2**21
        assert len(whole) == min(-(-(block.offset + block.nbytes) // 2**21) * 2**21, shard.size) - start


def memory_of(array: np.ndarray) -> mmap.mmap:
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    assert isinstance(owner, mmap.mmap)
    return owner
