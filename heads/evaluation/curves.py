"""What a threshold would do: counts on a grid of thresholds, and errors where only the surest rows are decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.evaluation.figures import Figures
from heads.statistics.intervals import Interval, bound_rate
from heads.verdicts.maps import log_odds
from heads.verdicts.points import OperatingPoint

__all__ = ["COVERAGES", "GRID", "count_above", "risk_coverage"]

GRID = np.linspace(0, 1, 1001)
"""Thresholds on raw P(AI)."""
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


def count_above(figures: Figures, points: Sequence[OperatingPoint] = ()) -> dict[str, Any]:
    """Count, by origin and generator, the rows whose raw P(AI) is at or above each threshold.

    Parameters
    ----------
    figures : Figures
    points : sequence of OperatingPoint
        Their thresholds are counted beside those of `GRID`.

    Returns
    -------
    dict
        ``thresholds``, rising, and ``counts``: a list of ``origin``, ``generator``, ``n`` and ``at_least``, a count a
        threshold.
    """
    own = [threshold for point in points for threshold in (point.ai_from, point.real_below)]
    thresholds = np.unique(np.concatenate([GRID, np.array(own, dtype=np.float64)]))
    origin, generator = figures.truth.slices["origin"], figures.truth.generator
    counts = []
    for pair in sorted({*zip(origin.tolist(), generator.tolist(), strict=True)}):
        raw = np.sort(figures.scored.raw[(origin == pair[0]) & (generator == pair[1])])
        at_least = len(raw) - np.searchsorted(raw, thresholds, "left")
        counts.append({"origin": pair[0], "generator": pair[1], "n": len(raw), "at_least": at_least.tolist()})
    return {"thresholds": thresholds.tolist(), "counts": counts}


def risk_coverage(figures: Figures) -> list[tuple[float, Interval]]:
    """Return how often verdicts on task A are wrong where only so many rows are decided, the surest first.

    How sure a verdict is, is the distance of the raw log-odds from the threshold (from the middle of two).
    """
    raw, point = log_odds(figures.scored.raw), figures.point
    threshold = float(np.mean(log_odds([point.ai_from, point.real_below])))
    order = np.argsort(-np.abs(raw - threshold), kind="stable")
    wrong: NDArray[np.bool_] = (raw >= threshold) != (figures.truth.y == 1)
    found = []
    for coverage in COVERAGES:
        kept = order[: max(1, round(coverage * len(order)))]
        found.append((coverage, bound_rate(wrong[kept], figures.truth.groups[kept])))
    return found
