"""Which of the units that are planned are claimed, number after number: the rest others have in hand, or have done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from featcache.extraction.encoding.feeds import ClaimedUnits
from featcache.extraction.encoding.side import Side
from featcache.extraction.planning.plan import WorkUnit
from featcache.files.claims import Claims

__all__ = ["PlannedUnit", "begin_units", "claimed_units"]

PlannedUnit: TypeAlias = tuple[Side, WorkUnit]
"""A unit, and the encoder and view that it is planned for."""


def claimed_units(
    units: Sequence[PlannedUnit], claims: Sequence[Claims], left: list[PlannedUnit]
) -> Iterator[ClaimedUnits]:
    """Yield number after number what could be claimed of it, begun.

    Parameters
    ----------
    units : sequence of (Side, WorkUnit)
        In the order of their numbers.
    claims : sequence of Claims
        Those of each side, by its number.
    left : list of (Side, WorkUnit)
        Takes those that others have in hand.
    """
    for _, together in groupby(units, key=lambda work: work[1].number):
        mine: list[PlannedUnit] = []
        for side, unit in together:
            found, is_claimed = _claim(side, unit, claims[side.number])
            if found is not None:
                (mine if is_claimed else left).append((side, found))
        if mine:
            yield begin_units(mine)


def begin_units(units: Sequence[PlannedUnit]) -> ClaimedUnits:
    """Begin units of one number."""
    return ClaimedUnits(units[0][1].number, tuple(side.job(unit) for side, unit in units))


def _claim(side: Side, unit: WorkUnit, claims: Claims) -> tuple[WorkUnit | None, bool]:
    """Return what others left of a unit, None if that is nothing, and whether it is claimed now."""
    while not side.is_done_elsewhere(unit):
        if not claims.take(unit.name):
            return unit, False
        rest = side.left_of(unit)  # under its name nobody publishes any more
        if rest is unit:
            return unit, True
        claims.release(unit.name)
        unit = rest
    return None, False
