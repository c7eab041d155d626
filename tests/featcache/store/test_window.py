from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.store.window import Window


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    width=st.integers(1, 7),
    dtype=st.sampled_from(["float16", "float32"]),
    seed=st.integers(0, 99),
)
def test_rows_of_many_arrays_are_those_of_each(sizes: list[int], width: int, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((n, width)).astype(dtype) for n in sizes]
    places = np.array([(s, r) for s, n in enumerate(sizes) for r in range(n)])
    shard, row = places[rng.integers(0, len(places), 20)].T
    assert Window.fits(arrays)
    window = Window(arrays)
    taken = window.take(window.positions(shard.astype(np.uint8), row.astype(np.int32)))
    np.testing.assert_array_equal(taken, [arrays[s][r] for s, r in zip(shard, row, strict=True)])
    assert taken.dtype == dtype and taken.flags.writeable


def test_what_is_in_no_array_reads_no_foreign_memory() -> None:
    arrays = [np.ones((1, 3), np.float16), np.zeros((0, 3), np.float16), np.ones((2, 3), np.float16)]
    window = Window(arrays)
    missing = window.positions(np.array([3, 3]), np.array([-1, -1]))
    np.testing.assert_array_equal(window.take(missing), np.ones((2, 3)))


@pytest.mark.parametrize("other", [np.zeros((2, 4), np.float16), np.zeros((2, 3), np.float32), np.zeros((6, 2)).T[:2]])
def test_arrays_of_different_kinds_are_not_one(other: np.ndarray) -> None:
    assert not Window.fits([np.zeros((2, 3), np.float16), other])


def test_arrays_that_lie_at_odd_addresses_are_not_one(tmp_path: Path) -> None:
    odd = np.frombuffer(bytes(13), np.float16, 6, 1).reshape(2, 3)
    assert not Window.fits([odd]) and not Window.fits([])
