from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache.cache.samples import SampleTable
from featcache.errors import FeatcacheError
from featcache.store.sample_rows import SampleRows
from featcache.synthetic import write_synthetic


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    folder: Path = tmp_path_factory.mktemp("s") / "cache"
    return write_synthetic(folder, captions={"test": 2, "train": 3}, generators=("a",)).store.samples


def test_splits_are_told_in_one_order_and_divide_the_rows(table: SampleTable) -> None:
    rows = SampleRows(table)
    assert rows.splits == ("train", "test")
    both = np.concatenate([rows.of_split(split) for split in rows.splits])
    assert sorted(both.tolist()) == rows.of_split(None).tolist() == list(range(len(table)))
    with pytest.raises(FeatcacheError, match=r"no sample in split 'valid'; it has: train, test"):
        rows.of_split("valid")


def test_the_row_of_a_name_has_that_name(table: SampleTable) -> None:
    rows = SampleRows(table)
    order = np.random.default_rng(0).integers(0, len(table), 20)
    assert rows.of_names(rows.names[order].tolist()).tolist() == order.tolist()
    with pytest.raises(FeatcacheError, match=r"no sample 'b' \(2 unknown in all\)"):
        rows.of_names([str(rows.names[0]), "b", "~"])


@pytest.mark.parametrize("n", [2, 10])
def test_few_rows_and_many_say_the_same_of_a_sample(table: SampleTable, n: int) -> None:
    chosen = np.arange(n)[::-1]
    arrays = SampleRows(table).arrays(chosen, {}, {})
    assert arrays.sample_id.tolist() == [table.sample_id[row] for row in chosen]
    assert arrays.split.tolist() == table.split[chosen].tolist()
    np.testing.assert_array_equal(arrays.keys["text"], table.text_key[chosen])
    np.testing.assert_array_equal(arrays.keys["image"], table.image_key[chosen])
