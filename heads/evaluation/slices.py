"""For whom the figures of a detector hold: rows of each generator, origin, format or size by themselves."""

from __future__ import annotations

import numpy as np

from heads.data.tasks import REAL, BoolArray
from heads.evaluation.figures import AI_CODE, REAL_CODE, UNSURE_DECISION, Figures
from heads.evaluation.truth import UNNAMED
from heads.statistics.intervals import Interval, bound_rate
from heads.statistics.probability import ProbabilitySums, calibration_floor

__all__ = ["Slice", "measure_slices"]

Slice = dict[str, Interval | float | int]


def measure_slices(figures: Figures, by: str) -> dict[str, Slice]:
    """Return what is known of the rows of each value.

    Parameters
    ----------
    figures : Figures
    by : str
        One of `truth.SLICES`.

    Returns
    -------
    dict of value to dict
        ``n`` and ``n_groups``; ``fpr`` and ``tpr``, where there are real and AI rows, and ``unsure``, where the
        operating point abstains, each with its interval; ``nll``, ``brier`` and ``ece`` of P(AI) as these rows are, and
        ``ece_floor``. Real rows come first, rows of which the value is unknown last.
    """
    values = figures.truth.slices[by]
    order = sorted({*values.tolist()}, key=lambda name: (name == UNNAMED, name != REAL, name))
    return {value: _measure(figures, values == value) for value in order}


def _measure(figures: Figures, rows: BoolArray) -> Slice:
    y, p_ai, decision = figures.truth.y[rows], figures.scored.p_ai[rows], figures.decision[rows]
    groups = np.unique(figures.truth.groups[rows], return_inverse=True)[1].reshape(-1)
    found: Slice = {"n": len(y), "n_groups": int(groups.max()) + 1}
    for name, code in (("fpr", REAL_CODE), ("tpr", AI_CODE)):
        of_class = y == code
        if of_class.any():
            found[name] = bound_rate(decision[of_class] == AI_CODE, groups[of_class])
    if figures.point.abstains:
        found["unsure"] = bound_rate(decision == UNSURE_DECISION, groups)
    sums = ProbabilitySums.of_binary(y, p_ai, groups).measure(np.ones((1, int(groups.max()) + 1)))
    found |= {name: float(value[0]) for name, value in sums.items()}
    return {**found, "ece_floor": calibration_floor(p_ai)}
