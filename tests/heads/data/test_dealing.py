"""Laws of dealing: the largest go first, names decide between equals, and what is scarce is evened out."""

from __future__ import annotations

import numpy as np

from heads.data.dealing import deal, rank_sets


def test_sets_are_ranked_by_size_then_by_the_sha256_of_their_smallest_name() -> None:
    # sha256: a is ca97…, b 3e23…, c 2e7d…
    assert rank_sets(np.array([0, 1, 2, 3, 3]), ["a", "b", "c", "y", "x"]).tolist() == [3, 2, 1, 0, 0]
    assert rank_sets(np.array([0, 0, 1, 1, 2, 2]), ["z", "a", "b", "z", "z", "c"]).tolist() == [2, 2, 1, 1, 0, 0]


def test_sets_of_one_size_and_name_stay_in_their_order() -> None:
    assert rank_sets(np.arange(3), ["a", "a", "a"]).tolist() == [0, 1, 2]


def test_each_piece_goes_to_the_part_that_is_shortest_of_what_it_has() -> None:
    both, first, second = slice(None), np.array([0]), np.array([1])
    one = np.array([1])
    pieces = [(both, np.array([2, 1])), (first, one), (second, one), (second, one), (first, one), (first, one)]
    full = np.zeros((2, 2), dtype=np.int64)
    assert deal(pieces, full).tolist() == [0, 1, 1, 0, 1, 0]
    assert full.tolist() == [[3, 2], [2, 1]]


def test_of_parts_that_are_equally_short_the_first_is_taken() -> None:
    piece = (slice(None), np.array([0.5]))
    assert deal([piece] * 5, np.zeros((3, 1))).tolist() == [0, 1, 2, 0, 1]
