"""How views of the same rows differ: what a head should not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heads.data.row_source import RowSource, ViewDifferences
from heads.data.tasks import IntArray
from heads.errors import HeadsError
from heads.head.moments import Moments
from heads.head.scaling import Standardizer

__all__ = ["check_further", "check_names", "measure_differences"]


def check_names(invariant_to: Sequence[object]) -> None:
    """Refuse what are no names of views."""
    if not all(isinstance(view, str) and 0 < len(view) <= 200 for view in invariant_to):
        raise HeadsError(f"invariant_to are {invariant_to!r:.80}, expected names of views")


def check_further(source: RowSource, invariant_to: Sequence[str]) -> None:
    """Refuse rows that have more or fewer views for their differences alone than a head was told the names of."""
    n_further = source.n_all_views - source.n_views
    if len(invariant_to) != n_further:
        raise HeadsError(f"invariant_to names {len(invariant_to)} views, the rows have {n_further}")


def measure_differences(source: RowSource, rows: IntArray, scaler: Standardizer) -> NDArray[np.float64] | None:
    """Return the mean outer product of what a standardised row is in a view, less what it is in the clean one: (d, d).

    The mean is over rows and views, those included that show no more than this. None without a second view. A block of
    rows is in memory at a time.
    """
    if source.n_all_views == 1:
        return None
    found = Moments.of(ViewDifferences(source, rows), dtype=np.float32)
    found = found.transform(np.zeros_like(scaler.mean), scaler.inverse_scale)
    return found.scatter / found.n + np.outer(found.means[0], found.means[0])
