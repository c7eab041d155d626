"""Laws of halving: a half lacks a class only where it has to, and has about half of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.data.halving import halve
from heads.data.tasks import build_targets, default_tasks

TASKS = default_tasks("xyz")


def halves(sets: Sequence[str]) -> list[int]:
    """Halve sets of rows that are real (r), of the generators x, y, z, or AI of an unknown one (u)."""
    rows = "".join(sets)
    numbers = np.repeat(np.arange(len(sets)), [len(each) for each in sets])
    y = {"a": np.array([row != "r" for row in rows], dtype=int), "b": np.array(["xyz".find(row) for row in rows])}
    return halve(numbers, build_targets(TASKS, y), tasks=TASKS).tolist()


def lacking(sets: Sequence[str], half_of: Iterable[int], classes: Sequence[str]) -> list[str]:
    """Return the classes that only one half has; each is written as the letters of its rows."""
    found = {each: {half for some, half in zip(sets, half_of, strict=True) if {*some} & {*each}} for each in classes}
    return [each for each in classes if len(found[each]) == 1]


@given(st.lists(st.text("rxyzu", min_size=1, max_size=4), min_size=1, max_size=7))
def test_a_half_lacks_a_class_of_a_only_where_no_division_avoids_it(sets: list[str]) -> None:
    sets = sorted(sets, key=len, reverse=True)
    possible = [len(lacking(sets, each, ("r", "xyzu"))) for each in product((0, 1), repeat=len(sets))]
    assert len(lacking(sets, halves(sets), ("r", "xyzu"))) == min(possible)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ("uu rr ry", [1, 1, 0]),  # dealt 0 1 0: AI rows on one side alone
        ("rr uz ry", [1, 1, 0]),  # real rows on one side
        ("ux yz xy", [1, 1, 0]),  # rows of x on one side
        ("rrxxxx yzzzz ruuy xz", [1, 1, 0, 0]),  # real rows, then rows of z
        ("rxy yyz rz", [0, 1, 1]),  # for real rows on both sides z is given up
        ("ruy xy rx", [0, 1, 1]),  # x would cost y or the real rows
        ("ry zz yz", [1, 1, 0]),  # what one set alone has moves with it
        ("rrr xxx", [0, 1]),  # one set has all there is of a class
        ("rx", [0]),
    ],
)
def test_sets_are_moved_for_classes_that_a_half_lacks_and_none_is_lost_by_it(sets: str, expected: list[int]) -> None:
    assert halves(sets.split()) == expected


def test_a_large_set_leaves_the_rows_of_the_scarcer_class_to_the_other_half() -> None:
    sets = ["r" + "x" * 99, *["xy"] * 40, *["r"] * 9]
    half_of = np.array(halves(sets))
    n_real = np.array([each.count("r") for each in sets])
    assert n_real[half_of == 0].sum() == n_real[half_of == 1].sum() == 5


def test_every_class_and_all_rows_are_halved_where_sets_are_small() -> None:
    sets = [*["rx"] * 20, *["r"] * 10, *["x"] * 6, *["y"] * 8, *["u"] * 4]
    half_of = halves(sets)
    for half in (0, 1):
        rows = "".join(each for each, own in zip(sets, half_of, strict=True) if own == half)
        assert [rows.count(letter) for letter in "rxyu"] == [15, 13, 4, 2]


def test_sets_with_very_many_classes_are_halved_without_an_overflow() -> None:
    tasks = default_tasks([f"g{i}" for i in range(2000)])
    y = {"a": np.ones(4000, dtype=int), "b": np.tile(np.arange(2000), 2)}
    assert halve(np.repeat([0, 1], 2000), build_targets(tasks, y), tasks=tasks).tolist() == [0, 1]
