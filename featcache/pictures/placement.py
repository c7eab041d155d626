"""Where the pixels of an encoder come from: a part of a picture, resized, and the box of it that is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Box", "Middle", "Placement", "middle_box"]

Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""
Middle: TypeAlias = Literal["down", "even"]


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture of one size is brought to an encoder's size.

    Attributes
    ----------
    source : Box
        The part of the picture that is resized.
    size : (height, width)
        To which size.
    box : Box
        The part of the resized picture that is seen.
    at : (top, left)
        Where that part lies in the encoder's pixels; what is around it has one colour.
    """

    source: Box
    size: tuple[int, int]
    box: Box
    at: tuple[int, int]


def middle_box(size: tuple[int, int], wanted: tuple[int, int], rounded: Middle) -> Box:
    """Return the box in the middle of a picture of a size (height, width), all of an axis that is too short."""
    top, height = _middle(size[0], wanted[0], rounded)
    left, width = _middle(size[1], wanted[1], rounded)
    return top, left, height, width


def _middle(length: int, wanted: int, rounded: Middle) -> tuple[int, int]:
    over = max(0, length - wanted)
    return over // 2 if rounded == "down" else round(over / 2), min(length, wanted)
