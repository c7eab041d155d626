from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.cache.shard import ShardHeader
from featcache.cache.shard_writing import write_shard
from featcache.extraction.run import ExtractOptions, extract
from featcache.identity.key_index import KeyIndex
from featcache.store.shard_set import ShardSet
from featcache.upkeep.holding import Holding, Share
from featcache.upkeep.status import cache_status
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, read_manifest, small_rows, write_dataset

SPEC = FakeSpec("image")
SETS = st.frozensets(st.integers(0, 9))


@settings(max_examples=30)
@given(stored=SETS.filter(bool), failed=SETS, asked=st.frozensets(st.sampled_from(["cls", "layers:10", "layers:9"])))
def test_every_content_is_stored_or_failed_or_missing_and_counted_once(
    tmp_path_factory: pytest.TempPathFactory, stored: frozenset[int], failed: frozenset[int], asked: frozenset[str]
) -> None:
    cache = make_cache(tmp_path_factory.mktemp("c") / "cache")
    cache.add_producer(SPEC.fingerprint)
    keys, vectors = small_rows(10)
    path = cache.shard_folder(SPEC.fingerprint, "clean") / f"{'0' * 32}.h5"
    header = ShardHeader(SPEC.fingerprint.digest, "clean", "float16")
    rows = sorted(stored)
    write_shard(path, header, keys[rows], {"pooled": vectors[rows]}, root=cache.path)
    holding = Holding(
        SPEC.fingerprint,
        "clean",
        ShardSet.open(cache, SPEC.fingerprint, "clean"),
        KeyIndex.from_shards([keys[sorted(failed)]]),
    )
    shares = {share.output: share for share in holding.shares(keys, asked)}
    layers = [name for name in ("layers:9", "layers:10") if name in asked]
    assert list(shares) == [*(["cls"] if "cls" in asked else []), "pooled", *layers]
    for output, share in shares.items():
        have = stored if output == "pooled" else frozenset()
        assert share == Share(output, 10, len(have), len(failed - have))
        assert share.n_missing == holding.lacks(output, keys).sum() == len(set(range(10)) - have - failed)


def test_what_is_stored_of_nothing_is_one_share_without_a_name(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    cache.add_producer(SPEC.fingerprint)
    shards = ShardSet.open(cache, SPEC.fingerprint, "clean")
    holding = Holding(SPEC.fingerprint, "clean", shards, KeyIndex.from_shards([]))
    assert holding.outputs == () and holding.shares(small_rows(3)[0], ()) == [Share("", 3, 0, 0)]


def test_status_and_verify_agree_on_what_is_missing(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=3))
    extract(manifest, cache, [FakeSpec("text", ("cls",)), SPEC], options=ExtractOptions(device="cpu", unit_rows=2))
    victim = sorted(cache.shard_paths(SPEC.fingerprint, "clean"))[0]
    victim.unlink()
    (cache.path / "index.json").unlink()
    (dataset,) = cache_status(cache).datasets
    told = {(c.producer, c.view, c.output): (c.n_contents, c.n_missing, c.n_failed) for c in dataset.coverage}
    lacks = verify(cache).lacks
    assert told == {(k.producer, k.view, k.output): (k.n_contents, k.n_missing, k.n_failed) for k in lacks}
    assert sum(n_missing for _, n_missing, _ in told.values()) == 2
