"""What an accuracy on partly wrong labels stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from heads.errors import HeadsError

__all__ = ["Converter"]


@dataclass(frozen=True)
class Converter:
    """From an accuracy on labels of which a share is wrong to the accuracy on right ones: ``(measured - a) / b``.

    It assumes that wrong labels are spread evenly over the other classes, and fall on all pictures and verdicts alike.
    Where half of six classes' labels are wrong, a is 0.1 and b is 0.4.

    Attributes
    ----------
    subtract, divide : float
        ``a`` and ``b``.
    """

    subtract: float
    divide: float

    @classmethod
    def build(cls, wrong: float, n_classes: int) -> Self | None:
        """Work it out.

        Parameters
        ----------
        wrong : float
            Share of wrong labels, in [0, 1].
        n_classes : int
            At least 2.

        Returns
        -------
        Converter or None
            None where labels say no more than chance does: then no accuracy on them stands for another.
        """
        if not (0 <= wrong <= 1 and n_classes >= 2):
            raise HeadsError(f"the share of wrong labels is {wrong!r} of {n_classes} classes, expected 0 to 1 of 2 up")
        subtract = wrong / (n_classes - 1)
        divide = 1 - wrong - subtract
        return cls(subtract, divide) if divide > 0 else None

    def convert(self, measured: float) -> float:
        """Return the accuracy on right labels."""
        return (measured - self.subtract) / self.divide
