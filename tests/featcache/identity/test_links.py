import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.identity.links import clusters

Rows = list[tuple[str | None, int]]
ROWS = st.lists(st.tuples(st.none() | st.sampled_from("abcdefgh"), st.integers(-1, 12)), min_size=1, max_size=40)


def columns(rows: Rows) -> list[object]:
    return [[group for group, _ in rows], np.array([number for _, number in rows], dtype=np.int64)]


def naive_clusters(rows: Rows) -> list[int]:
    numbers = list(range(len(rows)))
    for i, (group, number) in enumerate(rows):
        for j, (other, digit) in enumerate(rows[:i]):
            if (group is not None and group == other) or (number >= 0 and number == digit):
                low, high = sorted((numbers[i], numbers[j]))
                numbers = [low if n == high else n for n in numbers]
    order = {n: i for i, n in enumerate(dict.fromkeys(numbers))}
    return [order[n] for n in numbers]


@given(ROWS)
def test_clusters_are_the_connected_components(rows: Rows) -> None:
    found = clusters(columns(rows))
    assert found.dtype == np.int64
    assert found.tolist() == naive_clusters(rows)


def test_links_chain_across_columns_but_ids_do_not() -> None:
    assert clusters([["a", "a", None, "b"], ["x", "y", "y", "a"]]).tolist() == [0, 0, 0, 1]


def test_large_unsigned_ids_link_too() -> None:
    assert clusters([np.array([2**64 - 1, 5, 2**64 - 1], dtype=np.uint64)]).tolist() == [0, 1, 0]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        clusters([["a"], ["a", "b"]])
    with pytest.raises(ValueError, match="one length"):
        clusters([])
