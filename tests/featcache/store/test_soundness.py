"""A store that checks gives the vectors that were written or none, and reads a shard through once."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from featcache.cache.folder import Cache
from featcache.cache.index import update_index
from featcache.cache.shard import Shard, read_shard
from featcache.errors import ShardError
from featcache.extraction.run import ExtractOptions, extract
from featcache.files.sealed import read_sealed, replace_sealed
from featcache.store import soundness
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore

from factories import FakeSpec, make_cache, read_manifest, write_dataset

TEXT, IMAGE = FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled", "cls"))
LONG_AGO = 1_600_000_000


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of captions and pictures, these in two views, in shards of six contents."""
    folder = tmp_path_factory.mktemp("pristine")
    options = ExtractOptions(device="cpu", unit_rows=6)
    data = read_manifest(write_dataset(folder / "d", n_captions=6))
    extract(data, make_cache(folder / "c"), [TEXT, IMAGE], views=("clean", "blur:1"), options=options)
    return folder / "c"


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    """A copy whose shards were written long ago."""
    shutil.copytree(pristine, tmp_path / "c")
    for path in tmp_path.glob("c/features/**/*.h5"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return tmp_path / "c"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The shards that were read through, in the order of their names; cleared by whoever has seen them."""
    paths: list[Path] = []
    check_digests = soundness._check_digests

    def note(shard: Shard, *receipt: object) -> None:
        paths.append(shard.path)
        check_digests(shard, *receipt)

    monkeypatch.setattr(soundness, "_check_digests", note)
    yield paths


def image_shards(cache: Path, view: str = "clean") -> list[Path]:
    return sorted(cache.glob(f"features/{IMAGE.fingerprint.short}/{view}/*.h5"))


def image_rows(store: FeatureStore, view: str = "clean", outputs: str = "pooled") -> np.ndarray:
    return store.arrays(selections={"image": store.select("image", outputs=outputs, view=view)}).features["image"]


def memory(cache: Path, view: str = "clean") -> Path:
    return cache / "memo" / "checked" / IMAGE.fingerprint.short / f"{view}.json"


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def regions(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Where in a shard what lies: its head, its datasets, and what is between and behind them."""
    shard = read_shard(path)
    named = [("key", shard.key)]
    named += [(f"{kind} {name}", b) for kind in ("outputs", "norms") for name, b in vars(shard)[kind].items()]
    found, end = {}, 0
    gaps = []
    for name, block in sorted(named, key=lambda pair: pair[1].offset):
        gaps.append((end, block.offset))
        found[name] = [(block.offset, block.offset + block.nbytes)]
        end = block.offset + block.nbytes
    found["signature"], found["head"] = [(0, 96)], [(96, gaps[0][1])]
    found["between and behind"] = [gap for gap in (*gaps[1:], (end, shard.size)) if gap[0] < gap[1]]
    return found


INDICES: dict[str, Callable[[Path], object]] = {
    "intact": lambda path: None,
    "missing": lambda path: path.unlink(),
    "damaged": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "stale": lambda path: replace_sealed(path, {**read_sealed(path)[0], "shards": {}}, root=path.parent),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "index", [pytest.param(index, marks=[pytest.mark.slow] * (index != "stale")) for index in INDICES]
)
def test_a_flipped_bit_anywhere_in_a_shard_gives_no_other_vectors(cache: Path, index: str) -> None:
    """With its receipt a shard is refused whatever was flipped; without it all but what HDF5 has no use for."""
    INDICES[index](cache / "index.json")
    truth = image_rows(open_store(cache), outputs="pooled,cls")
    rng = np.random.default_rng(0)
    path = image_shards(cache)[1]
    good, n_refused, n_flips = path.read_bytes(), 0, 0
    for name, parts in regions(path).items():
        for _ in range(30 if index == "intact" else 12):
            start, end = parts[rng.integers(len(parts))]
            flip(path, int(rng.integers(start, end)), int(rng.integers(8)))
            n_flips += 1
            try:
                now = image_rows(open_store(cache, check=True), outputs="pooled,cls")
            except ShardError as error:
                n_refused += 1
                assert "\n" not in str(error)
                if index == "intact" or name in ("key", "outputs pooled", "norms cls"):
                    assert str(path) in str(error) and f"run `featcache repair {cache}`" in str(error)
            else:
                assert index != "intact" and name in ("signature", "head", "between and behind")
                np.testing.assert_array_equal(now, truth)
            path.write_bytes(good)
    assert n_refused == n_flips == 240 if index == "intact" else n_refused >= 60


def test_without_the_check_damaged_vectors_are_read(cache: Path) -> None:
    """What the check is for: nothing else looks at the vectors themselves."""
    path = image_shards(cache)[0]
    flip(path, read_shard(path).outputs["pooled"].offset + 1, bit=6)
    truth = image_rows(open_store(cache), outputs="cls")
    assert len(image_rows(open_store(cache))) == len(truth)
    with pytest.raises(ShardError, match=r"dataset 'features/pooled' \(6 rows\) was damaged"):
        image_rows(open_store(cache, check=True))


def test_only_the_shards_of_what_is_read_are_read_through(cache: Path, read: list[Path]) -> None:
    flip(image_shards(cache, "blur:1")[0], 3000)
    store = open_store(cache, check=True)
    store.select("image", view="blur:1"), store.select("text")
    assert read == []
    image_rows(store)
    assert sorted(read) == image_shards(cache)
    with pytest.raises(ShardError, match="blur:1"):
        image_rows(store, "blur:1")


def test_shards_of_other_outputs_are_left_alone_where_a_receipt_says_so(
    pristine: Path, tmp_path: Path, read: list[Path]
) -> None:
    data = read_manifest(write_dataset(tmp_path / "d", n_captions=2))
    for outputs in (("pooled",), ("pooled", "mean")):
        extract(data, make_cache(tmp_path / "c"), [FakeSpec("image", outputs)], options=ExtractOptions(device="cpu"))
    (one,) = (p for p in image_shards(tmp_path / "c") if "mean" not in read_shard(p).outputs)
    image_rows(open_store(tmp_path / "c", check=True))
    assert read == [one]
    (tmp_path / "c" / "index.json").unlink()
    shutil.rmtree(tmp_path / "c" / "memo", ignore_errors=True)
    image_rows(open_store(tmp_path / "c", check=True))
    assert sorted(read[1:]) == image_shards(tmp_path / "c")


def test_a_shard_is_read_through_once(cache: Path, read: list[Path]) -> None:
    for _ in range(2):
        store = open_store(cache, check=True)
        image_rows(store), image_rows(store, outputs="pooled,cls"), store.gather(["0-real"])
        assert sorted(read) == sorted([*image_shards(cache), *cache.glob(f"features/{TEXT.fingerprint.short}/*/*.h5")])
        assert memory(cache).is_file()


CHANGES: dict[str, Callable[[Path], object]] = {
    "touched": lambda path: path.touch(),
    "replaced by a copy with its times": lambda path: shutil.copy2(path, path.with_suffix(".x")).replace(path),
    "written over with its times": lambda path: (
        path.write_bytes(path.read_bytes()),
        os.utime(path, (LONG_AGO, LONG_AGO)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_looks_different_is_read_through_again(cache: Path, change: str, read: list[Path]) -> None:
    store = open_store(cache, check=True)
    image_rows(store)
    path = image_shards(cache)[1]
    time.sleep(0.02)
    CHANGES[change](path)
    for again in (open_store(cache, check=True), store):
        read.clear()
        image_rows(again, outputs="cls")
        assert read == [path]


def test_damage_that_puts_the_old_time_back_is_refused(cache: Path) -> None:
    image_rows(open_store(cache, check=True))
    path = image_shards(cache)[0]
    time.sleep(0.02)
    flip(path, read_shard(path).key.offset)
    os.utime(path, (LONG_AGO, LONG_AGO))
    with pytest.raises(ShardError, match="dataset 'key'"):
        image_rows(open_store(cache, check=True))


def test_a_file_that_was_just_written_is_not_remembered(cache: Path, read: list[Path]) -> None:
    """It could be written again within a step of the clock, and look the same."""
    young, *settled = image_shards(cache)
    soon = time.time() + 60
    os.utime(young, (soon, soon))
    for expected in ([young, *settled], [young]):
        image_rows(open_store(cache, check=True))
        assert sorted(read) == expected
        read.clear()


def test_a_shard_that_changes_while_it_is_read_through_is_not_remembered(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, check_digests = image_shards(cache)[0], soundness._check_digests

    def touch(shard: Shard, *receipt: object) -> None:
        check_digests(shard, *receipt)
        if shard.path == path:
            os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))

    monkeypatch.setattr(soundness, "_check_digests", touch)
    image_rows(open_store(cache, check=True))
    remembered = read_sealed(memory(cache))[0]["shards"]
    assert sorted(remembered) == [p.name for p in image_shards(cache)[1:]]


def test_a_cache_that_is_moved_is_known_again_and_a_copy_is_not(cache: Path, read: list[Path]) -> None:
    image_rows(open_store(cache, check=True))
    read.clear()
    moved = cache.rename(cache.with_name("moved"))
    image_rows(open_store(moved, check=True))
    assert read == []
    shutil.copytree(moved, cache)
    image_rows(open_store(cache, check=True))
    assert sorted(read) == image_shards(cache)


def test_another_receipt_is_checked_against_the_file(cache: Path, read: list[Path]) -> None:
    image_rows(open_store(cache, check=True))
    document = read_sealed(cache / "index.json")[0]
    path = image_shards(cache)[0]
    document["shards"][path.relative_to(cache).as_posix()][1] = "0" * 64
    replace_sealed(cache / "index.json", document, root=cache)
    read.clear()
    with pytest.raises(ShardError, match=r"has another checksum than its receipt in the index"):
        image_rows(open_store(cache, check=True))
    assert read == [path]


def test_what_was_checked_without_a_receipt_is_checked_against_a_new_one(cache: Path, read: list[Path]) -> None:
    (cache / "index.json").unlink()
    for expected in (image_shards(cache), []):
        image_rows(open_store(cache, check=True))
        assert sorted(read) == expected
        read.clear()
    update_index(Cache.open(cache))
    for expected in (image_shards(cache), []):
        image_rows(open_store(cache, check=True))
        assert sorted(read) == expected
        read.clear()
    (cache / "index.json").unlink()
    image_rows(open_store(cache, check=True))
    assert read == []


@pytest.mark.parametrize("place", ["memo", "memo/checked", "memo/checked/{0}", "memo/checked/{0}/clean.json"])
def test_a_cache_that_cannot_remember_is_read_through_each_time(cache: Path, place: str, read: list[Path]) -> None:
    path = cache / place.format(IMAGE.fingerprint.short)
    shutil.rmtree(cache / "memo", ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if place.endswith(".json"):
        (path / "taken").mkdir(parents=True)
    else:
        path.write_text("a file where the folder should be")
    for _ in range(2):
        image_rows(open_store(cache, check=True))
        assert sorted(read) == image_shards(cache)
        read.clear()
    assert not list(cache.rglob(".tmp-*"))


def test_all_damage_is_counted_and_the_rest_is_remembered(cache: Path, read: list[Path]) -> None:
    paths = image_shards(cache)
    for path in paths[:2]:
        flip(path, read_shard(path).outputs["cls"].offset)
    with pytest.raises(ShardError) as refused:
        image_rows(open_store(cache, check=True))
    assert str(refused.value) == (
        f"cache {str(cache)!r} has 2 damaged shards, the first is named, run `featcache repair {cache}`: "
        f"shard {paths[0]}: dataset 'features/cls' (6 rows) was damaged; `featcache repair` moves it aside"
    )
    read.clear()
    with pytest.raises(ShardError):
        image_rows(open_store(cache, check=True))
    assert sorted(read) == paths[:2] and len(paths) == 3


def test_a_shard_that_the_system_refuses_is_no_damage(cache: Path) -> None:
    store = open_store(cache, check=True)
    store.select("image")
    path = image_shards(cache)[0]
    path.unlink()
    with pytest.raises(ShardError, match=r"cannot be read: .*No such file") as refused:
        image_rows(store)
    assert "repair" not in str(refused.value)


def test_an_interrupted_check_goes_on_where_it_was(cache: Path, read: list[Path]) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_rows(open_store(cache, check=True, progress=interrupt))
    known = set(read_sealed(memory(cache))[0]["shards"])
    assert image_shards(cache)[0].name in known
    read.clear()
    image_rows(open_store(cache, check=True))
    assert {p.name for p in read} == {p.name for p in image_shards(cache)} - known


def test_progress_is_told_in_bytes_by_the_thread_that_reads(cache: Path) -> None:
    told: list[tuple[int, int]] = []
    threads = set()

    def note(done: int, total: int) -> None:
        told.append((done, total))
        threads.add(threading.get_ident())

    store = open_store(cache, check=True, progress=note)
    image_rows(store), image_rows(store, outputs="cls")
    total = sum(p.stat().st_size for p in image_shards(cache))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[0] == (0, total) and told[-1] == (total, total) and len(told) == 1 + len(image_shards(cache))
    assert threads == {threading.get_ident()}


def test_a_store_that_was_sent_to_another_process_still_checks(cache: Path, read: list[Path]) -> None:
    path = image_shards(cache)[0]
    store = open_store(cache, check=True, progress=lambda done, total: None)
    image_rows(store)
    shutil.rmtree(cache / "memo")
    read.clear()
    image_rows(pickle.loads(pickle.dumps(store)))
    assert read == []
    flip(path, read_shard(path).key.offset)
    with pytest.raises(ShardError, match="dataset 'key'"):
        image_rows(pickle.loads(pickle.dumps(store)))


def test_a_sound_store_reads_the_same_with_the_check(cache: Path) -> None:
    plain, checked = open_store(cache).arrays(), open_store(cache, check=True).arrays()
    assert plain.features.keys() == checked.features.keys() == {"text", "image"}
    for modality, vectors in plain.features.items():
        np.testing.assert_array_equal(checked.features[modality], vectors)
    assert json.loads(memory(cache).read_text())["format_version"] == 1


def test_a_store_that_may_not_remember_checks_and_writes_nothing(cache: Path, read: list[Path]) -> None:
    store = open_store(cache, check=True, remember=False)
    image_rows(store)
    image_rows(store, outputs="cls")
    assert sorted(read) == image_shards(cache)
    assert not memory(cache).exists()
