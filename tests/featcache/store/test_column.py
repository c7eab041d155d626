from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featcache.store.column import Column


def column(places: list[tuple[int, int]]) -> Column:
    shard, row = np.array(places, np.int64).reshape(-1, 2).T
    return Column("cls", 3, shard.astype(np.uint8), row.astype(np.int32))


PLACES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=12)


@given(PLACES)
def test_between_breaks_every_row_follows_the_one_before_in_one_shard(places: list[tuple[int, int]]) -> None:
    expected = [i for i in range(1, len(places)) if places[i] != (places[i - 1][0], places[i - 1][1] + 1)]
    assert column(places).breaks.tolist() == expected


@given(PLACES)
def test_the_only_shard_is_known_if_there_is_one(places: list[tuple[int, int]]) -> None:
    shards = {shard for shard, _ in places}
    assert column(places).only_shard == (shards.pop() if len(shards) == 1 else None)
