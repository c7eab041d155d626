"""What a number of a document may be: a type and a range, and one way to tell whether a value is such a number."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from heads.errors import HeadsError

__all__ = ["FINITE", "Range"]

FINITE = sys.float_info.max
"""The most that a number can be."""
_SHOWN_BITS = 256


@dataclass(frozen=True)
class Range:
    """The numbers from ``least`` to ``most``.

    Attributes
    ----------
    number : {int, float}
        A whole number is a float too; a bool is neither.
    least, most : float
        Finite.
    is_open : bool
        Whether ``least`` itself is left out.
    """

    number: type[int] | type[float]
    least: float
    most: float
    is_open: bool = False

    def holds(self, value: object) -> bool:
        """Return whether a value is one of these numbers; NaN, infinity and whole numbers of any length are not."""
        if type(value) is not int and not (type(value) is float and self.number is float):
            return False
        # Python compares whole numbers with others exactly: nothing is converted, so that nothing overflows.
        is_within: bool = self.least < value if self.is_open else self.least <= value
        return is_within and value <= self.most

    def check(self, value: object, name: str) -> None:
        """Raise `HeadsError` unless a value, of which ``name`` says what it is, is one of these numbers."""
        if self.holds(value):
            return
        is_huge = type(value) is int and value.bit_length() > _SHOWN_BITS
        found = f"a whole number of {value.bit_length()} bits" if is_huge else f"{value!r:.80}"  # type: ignore[attr-defined]
        raise HeadsError(f"{name} is {found}, expected {self}")

    def __str__(self) -> str:
        what = "a whole number" if self.number is int else "a number"
        if self.most == FINITE == -self.least:
            return "a finite number"
        if self.most == FINITE:
            return f"a finite number {'above' if self.is_open else 'of at least'} {self.least:g}"
        if self.is_open:
            return f"{what} above {_short(self.least)}, at most {_short(self.most)}"
        return f"{what} from {_short(self.least)} to {_short(self.most)}"


def _short(value: float) -> str:
    return str(value) if type(value) is int else f"{value:g}"
