"""Laws of where vectors lie: what is in one shard, what follows one another, and that it is worked out once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.store.column import Column
from featcache.store.window import Window


def column_of(places: list[tuple[int, int]]) -> Column:
    """Return where vectors lie by pairs of shard and row."""
    shard, row = np.array(places, np.int64).reshape(-1, 2).T
    return Column("out", 2, shard.astype(np.uint8), row.astype(np.int32))


@pytest.mark.parametrize(
    ("shards", "only"), [([], None), ([3], 3), ([3, 3], 3), ([3, 4], None), ([4, 3, 3], None), ([0, 0], 0)]
)
def test_the_only_shard_is_that_of_all_rows(shards: list[int], only: int | None) -> None:
    assert column_of([(shard, 0) for shard in shards]).only_shard == only


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12))
def test_between_breaks_every_row_follows_the_one_before(places: list[tuple[int, int]]) -> None:
    follows = [b == (a[0], a[1] + 1) for a, b in pairwise(places)]
    assert column_of(places).breaks.tolist() == [i + 1 for i, is_next in enumerate(follows) if not is_next]


def test_positions_in_a_window_are_worked_out_once_for_each_column() -> None:
    window = Window([np.arange(6, dtype=np.float16).reshape(3, 2), np.arange(4, dtype=np.float16).reshape(2, 2)])
    one, other = column_of([(1, 1), (0, 2)]), column_of([(0, 0)])
    found = [one.positions(window), other.positions(window), one.positions(window)]
    assert found[0] is found[2] and window.take(found[0]).tolist() == [[2, 3], [4, 5]]
    assert window.take(found[1]).tolist() == [[0, 1]]


def test_a_column_is_one_thing_that_cannot_be_changed() -> None:
    column = column_of([(0, 0)])
    assert column == column and column != column_of([(0, 0)])
    with pytest.raises(FrozenInstanceError):
        column.width = 3  # type: ignore[misc]
