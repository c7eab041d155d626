"""Laws of ranges: what is no number, or none of theirs, is told without ever being converted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.errors import HeadsError
from heads.files.ranges import FINITE, Range

SHARE = Range(float, 0, 1)
COUNT = Range(int, 1, 10)


@pytest.mark.parametrize("value", [0, 1, 0.0, 0.5, 1.0, -0.0])
def test_a_number_of_the_range_is_one(value: float) -> None:
    assert SHARE.holds(value)
    SHARE.check(value, "x")


@pytest.mark.parametrize(
    "value", [True, False, None, "1", [1], {}, math.nan, math.inf, -math.inf, -1e-300, 1.0000001, 10**400, -(10**400)]
)
def test_what_is_none_of_the_range_is_refused(value: object) -> None:
    for numbers in (SHARE, COUNT):
        assert not numbers.holds(value)
        with pytest.raises(HeadsError, match=r"^x is .*, expected a"):
            numbers.check(value, "x")


def test_a_whole_number_is_asked_for_without_a_point() -> None:
    assert COUNT.holds(3) and not COUNT.holds(3.0)


def test_the_least_number_of_an_open_range_is_left_out() -> None:
    open_share = Range(float, 0, 1, is_open=True)
    assert not open_share.holds(0) and not open_share.holds(0.0) and open_share.holds(5e-324)


def test_a_number_with_more_digits_than_python_prints_is_refused_in_one_short_line() -> None:
    with pytest.raises(HeadsError, match=r"^x is a whole number of 33220 bits, expected a number from 0 to 1$"):
        SHARE.check(10**10_000, "x")
    with pytest.raises(HeadsError) as caught:
        SHARE.check("y" * 10_000, "x")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (Range(int, 1, 10**6), "a whole number from 1 to 1000000"),
        (Range(float, 1e-12, 1e12), "a number from 1e-12 to 1e+12"),
        (Range(float, 0, 1, is_open=True), "a number above 0, at most 1"),
        (Range(float, 0, FINITE), "a finite number of at least 0"),
        (Range(float, -FINITE, FINITE), "a finite number"),
    ],
)
def test_a_range_says_what_it_is(numbers: Range, text: str) -> None:
    assert str(numbers) == text


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none(), st.lists(st.integers())))
def test_what_a_range_holds_is_a_finite_number_within(value: object) -> None:
    if Range(float, -5, 7).holds(value):
        assert isinstance(value, int | float) and math.isfinite(value) and -5 <= value <= 7
