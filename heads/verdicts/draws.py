"""Labelled rows that errors are counted on, and independent draws of them: one row of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray
from heads.errors import HeadsError

__all__ = ["LABELS", "BudgetedRows", "Draws", "Rate", "draw_one_a_group"]

Rate = Literal["fpr", "fnr"]
LABELS: dict[Rate, int] = {"fpr": 0, "fnr": 1}
"""The class of task A whose errors a rate counts."""
Draws = Sequence[tuple[str, IntArray]]


@dataclass(frozen=True)
class BudgetedRows:
    """Labels of ``n`` rows that errors are counted on.

    Attributes
    ----------
    y : int array (n,)
        0 real, 1 AI.
    groups : int array (n,)
        Rows of one number are not independent: `featcache.link_rows`.
    origins : str array (n,) or None
        None: the data say it of no row.
    dataset, part, view : str
        As of `Guarantee` (``part`` is its ``rows``) and `OperatingPoint`.
    """

    y: IntArray
    groups: IntArray
    origins: NDArray[np.str_] | None
    dataset: str
    part: str
    view: str

    def draws(self, rate: Rate, *, by_origin: bool) -> Draws:
        """Return rows of the class whose errors a rate counts, one a group, for each origin or for all together."""
        rows = np.flatnonzero(self.y == LABELS[rate])
        if not by_origin:
            return [("", rows[draw_one_a_group(self.groups[rows])])]
        if self.origins is None:
            raise HeadsError(
                f"no row of data set {self.dataset!r} has an origin: --by origin needs a column origin (or source) in "
                "the manifest, and featcache extract"
            )
        own = [(str(name), rows[self.origins[rows] == name]) for name in np.unique(self.origins[rows])]
        return [(name, found[draw_one_a_group(self.groups[found])]) for name, found in own] or [("", rows)]

    def unit(self, rate: Rate) -> Literal["row", "group"]:
        """Return what is drawn independently: groups, where one has several rows of the class."""
        groups = self.groups[self.y == LABELS[rate]]
        return "row" if len(np.unique(groups)) == len(groups) else "group"


def draw_one_a_group(groups: IntArray, *, seed: int = 0) -> IntArray:
    """Draw a row of each group at random: indices into ``groups``, rising."""
    order = np.random.default_rng(seed).permutation(len(groups))
    return np.sort(order[np.unique(groups[order], return_index=True)[1]])
