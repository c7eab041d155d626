"""Whether labelled rows contradict what was promised of an operating point."""

from __future__ import annotations

from typing import Any

import numpy as np

from heads.evaluation.figures import AI_CODE, REAL_CODE, Figures
from heads.statistics.intervals import bound_rate

__all__ = ["keep_promises"]

_WRONG = {"fpr": (REAL_CODE, AI_CODE), "fnr": (AI_CODE, REAL_CODE)}
"""Of each rate the class whose rows it is of, and what they are wrongly called."""


def keep_promises(figures: Figures) -> list[dict[str, Any]]:
    """Count the errors of each rate that a point promises something of.

    Returns
    -------
    list of dict
        ``rate``, ``budget``, ``dataset`` (that it was promised for), ``n`` and ``n_errors`` (rows here), ``observed``
        (with its 95 % interval over groups; None without such rows) and ``contradicts``: whether the whole interval is
        above the budget; None where there is no interval.
    """
    found = []
    for each in figures.point.guarantees:
        of_class, called = _WRONG[each.rate]
        rows = figures.truth.y == of_class
        wrong = figures.decision[rows] == called
        observed = bound_rate(wrong, figures.truth.groups[rows]) if rows.any() else None
        has_interval = observed is not None and not np.isnan(observed.low)
        found.append(
            {
                "rate": each.rate,
                "budget": each.budget,
                "dataset": each.dataset,
                "n": int(rows.sum()),
                "n_errors": int(wrong.sum()),
                "observed": observed and observed.to_dict(),
                "contradicts": bool(observed.low > each.budget) if observed is not None and has_interval else None,
            }
        )
    return found
