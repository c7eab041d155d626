from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import FeatcacheError
from featcache.extraction.run import ExtractOptions, extract
from featcache.store import batches
from featcache.store.batches import BLOCK_ROWS, WINDOW_ROWS, window_orders
from featcache.store.opening import open_store
from featcache.store.store import FeatureStore

from factories import FakeSpec, make_cache, read_manifest, write_dataset


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("batches")
    data = write_dataset(folder / "d", 9, caption=["", *[f"caption {i // 3}" for i in range(1, 27)]])
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    extract(read_manifest(data), make_cache(folder / "c"), specs, options=ExtractOptions(device="cpu", unit_rows=4))
    return open_store(folder / "c")


def ids(parts: list) -> list[str]:
    return [name for part in parts for name in part.sample_id.tolist()]


@pytest.mark.parametrize("shuffle", [None, "global", "block"])
@pytest.mark.parametrize("batch_size", [1, 4, 27, 100])
def test_every_row_comes_exactly_once_in_full_batches_but_the_last(
    store: FeatureStore, shuffle: batches.Shuffle | None, batch_size: int
) -> None:
    parts = list(store.batches(batch_size=batch_size, shuffle=shuffle, seed=3))
    assert sorted(ids(parts)) == sorted(store.sample_id.tolist())
    assert {len(part) for part in parts[:-1]} <= {batch_size} and 1 <= len(parts[-1]) <= batch_size
    if shuffle is None:
        assert ids(parts) == store.sample_id.tolist()


@pytest.mark.parametrize("shuffle", [None, "global", "block"])
def test_a_batch_equals_its_gathered_rows(store: FeatureStore, shuffle: batches.Shuffle | None) -> None:
    for part in store.batches("train", batch_size=4, shuffle=shuffle):
        expected = store.gather(part.sample_id.tolist())
        for name in ("sample_id", "split", "group", "label_a", "label_b"):
            np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))
        for name in ("features", "present", "keys"):
            for side in ("text", "image"):
                np.testing.assert_array_equal(getattr(part, name)[side], getattr(expected, name)[side])
        assert set(part.split) == {"train"} and part.class_names == expected.class_names


@pytest.mark.parametrize("shuffle", ["global", "block"])
def test_the_seed_decides_the_order(store: FeatureStore, shuffle: batches.Shuffle) -> None:
    orders = [ids(list(store.batches(batch_size=5, shuffle=shuffle, seed=seed))) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != store.sample_id.tolist()


@given(st.integers(1, 60_000), st.integers(1, 9_000), st.integers(0, 2**32))
def test_windows_partition_the_rows_and_are_bounded(n_rows: int, batch_size: int, seed: int) -> None:
    windows = list(window_orders(n_rows, batch_size, np.random.default_rng(seed)))
    np.testing.assert_array_equal(np.sort(np.concatenate([rows for rows, _ in windows])), np.arange(n_rows))
    for number, (rows, order) in enumerate(windows):
        assert len(rows) < WINDOW_ROWS + 5 * batch_size and (np.diff(rows) > 0).all()
        assert number == len(windows) - 1 or len(rows) % batch_size == 0
        np.testing.assert_array_equal(np.sort(order), np.arange(len(rows)))


def test_windows_are_read_in_long_runs_and_mix_far_blocks() -> None:
    rows, _ = next(window_orders(1_000_000, 256, np.random.default_rng(0)))
    runs = 1 + np.count_nonzero(np.diff(rows) != 1)
    assert runs <= 2 + WINDOW_ROWS // BLOCK_ROWS
    assert rows.max() - rows.min() > 800_000


def test_what_cannot_be_is_refused_at_once(store: FeatureStore) -> None:
    with pytest.raises(FeatcacheError, match="batch_size is 0, expected 1 or more"):
        store.batches(batch_size=0)
    with pytest.raises(FeatcacheError, match="shuffle is 'rows', expected None or one of global, block"):
        store.batches(batch_size=1, shuffle="rows")  # type: ignore[arg-type]
    with pytest.raises(FeatcacheError, match="no sample in split 'night'"):
        store.batches("night", batch_size=1)


@pytest.mark.parametrize("shuffle", [None, "global", "block"])
def test_no_more_rows_are_held_than_a_window(
    store: FeatureStore, shuffle: batches.Shuffle | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "WINDOW_ROWS", 8)
    monkeypatch.setattr(batches, "BLOCK_ROWS", 3)
    asked: list[int] = []
    read = FeatureStore.read

    def counting(self: FeatureStore, rows: np.ndarray, **options: object) -> object:
        asked.append(len(rows))
        return read(self, rows, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureStore, "read", counting)
    assert len(ids(list(store.batches(batch_size=2, shuffle=shuffle)))) == len(store)
    assert max(asked) == (8 if shuffle == "block" else 2)
