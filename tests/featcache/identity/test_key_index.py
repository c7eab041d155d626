from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.identity import key_index
from featcache.identity.key_index import KeyIndex

# A tiny alphabet and a varying last byte: many keys share their first eight bytes, and many repeat.
KEY = st.builds(lambda a, b: bytes([a]) * 31 + bytes([b]), st.integers(0, 2), st.integers(0, 3))
SHARDS = st.lists(st.lists(KEY, max_size=6), max_size=4)


def stack(keys: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)


@given(SHARDS, st.lists(KEY, max_size=8))
def test_find_agrees_with_a_dictionary_that_prefers_the_first_shard(
    shards: list[list[bytes]], wanted: list[bytes]
) -> None:
    expected: dict[bytes, tuple[int, int]] = {}
    for number, keys in enumerate(shards):
        for row, key in enumerate(keys):
            expected.setdefault(key, (number, row))
    shard, row = KeyIndex.from_shards([stack(keys) for keys in shards]).find(stack(wanted))
    assert list(zip(shard.tolist(), row.tolist(), strict=True)) == [expected.get(key, (-1, -1)) for key in wanted]


def test_many_keys_are_found_in_any_order() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (200_000, 32), dtype=np.uint8)
    index = KeyIndex.from_shards(np.array_split(keys, 7))
    order = rng.permutation(len(keys))
    shard, row = index.find(keys[order])
    sizes = [len(part) for part in np.array_split(keys, 7)]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    np.testing.assert_array_equal(starts[shard] + row, order)


def test_the_memory_of_a_lookup_is_that_of_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    index = KeyIndex.from_shards([rng.integers(0, 256, (1000, 32), dtype=np.uint8)])
    numbers = rng.integers(-1, 1000, 200_000)
    absent = np.zeros((1, 32), np.uint8)
    wanted = np.concatenate([index.keys, absent])[numbers]
    whole = index.contains(wanted)
    monkeypatch.setattr(key_index, "_AT_A_TIME", 777)
    tracemalloc.start()
    try:
        shard, row = index.find(wanted)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(row, numbers)
    np.testing.assert_array_equal(shard, np.where(numbers < 0, -1, 0))
    np.testing.assert_array_equal(whole, numbers >= 0)
    assert peak < 6 * row.nbytes
