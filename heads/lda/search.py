"""How the strengths of a task are searched: over a grid, all of it or from its middle to where none is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

__all__ = ["Place", "climb", "every_place"]

Place = tuple[int, ...]
"""Of a point of a grid, on each of its axes."""


def every_place(sizes: Sequence[int]) -> Iterator[Place]:
    """Return all places of a grid."""
    return product(*map(range, sizes))


def climb(sizes: Sequence[int], start: Place, merit: Callable[[Place], Any]) -> Place:
    """Return the place that a walk ends at which goes to the best neighbour for as long as that is better.

    Parameters
    ----------
    sizes : sequence of int
        Of the axes.
    start : Place
    merit : callable
        What is to be largest; asked of a place as often as it is a neighbour.
    """
    while True:
        best = max([start, *_neighbours(sizes, start)], key=merit)  # the first of equal ones: no step without gain
        if best == start:
            return start
        start = best


def _neighbours(sizes: Sequence[int], place: Place) -> Iterator[Place]:
    for axis, size in enumerate(sizes):
        for step in (1, -1):
            if 0 <= place[axis] + step < size:
                yield (*place[:axis], place[axis] + step, *place[axis + 1 :])
