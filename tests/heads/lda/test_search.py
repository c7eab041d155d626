"""Laws of the search: a climb ends where no neighbour is better, and on one hill that is the best place."""

from __future__ import annotations

import numpy as np
import pytest

from heads.lda.search import climb, every_place


@pytest.mark.parametrize("top", [(0, 0), (4, 6), (2, 3), (4, 0), (1, 5)])
def test_a_climb_finds_the_top_of_a_hill(top: tuple[int, int]) -> None:
    asked: list[tuple[int, ...]] = []

    def merit(place: tuple[int, ...]) -> float:
        asked.append(place)
        return -float(np.square(np.subtract(place, top)).sum())

    assert climb((5, 7), (2, 3), merit) == top
    assert set(asked) < set(every_place((5, 7)))


def test_a_climb_stays_where_all_is_the_same_and_where_there_is_no_other_place() -> None:
    assert climb((5, 7), (2, 3), lambda _: 0.0) == (2, 3)
    assert climb((1, 1), (0, 0), lambda _: 0.0) == (0, 0)
    assert list(every_place((2, 2))) == [(0, 0), (0, 1), (1, 0), (1, 1)]
