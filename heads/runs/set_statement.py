"""What a run says of a set of pictures, and beside which known scores: those that the deciding point is promised by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.runs.run import Run
from heads.verdicts.mixture import LEAST_SET, SetStatement, state_set
from heads.verdicts.points import BALANCED

__all__ = ["APART_FROM", "SET_STATES", "compared_with", "set_state", "state_scores", "tell_set"]

APART_FROM = 0.9
"""From this lower end of the interval of an effect size on, the vectors of a set are called apart: a convention."""
_OWN = "validation"
SET_STATES = ("scores-unlike", "vectors-unlike", "not-told-apart")


def state_scores(run: Run, raw: NDArray[np.floating[Any]], *, point: str | None = None) -> SetStatement | None:
    """Compare raw P(AI) of a set with the scores that an operating point was calibrated on; None: nothing is said.

    Of the point `BALANCED`, and of one that was calibrated on the run's own validation, these are all of validation.
    """
    return None if run.likeness is None else state_set(raw, run.likeness.known_of(run.point(point).name))


def compared_with(run: Run, point: str | None = None) -> dict[str, str]:
    """Return which rows a set is compared with: ``dataset``, ``rows`` (``validation``, or as of a guarantee), ``view``.

    ``point`` is the operating point; None: the run's own choice.
    """
    chosen = run.point(point)
    if run.likeness is not None and chosen.name in run.likeness.of_points and chosen.guarantees:
        made = chosen.guarantees[0]
        return {"dataset": made.dataset, "rows": made.rows, "view": chosen.view}
    return {"dataset": run.record.source["dataset"], "rows": _OWN, "view": run.points[BALANCED].view}


def tell_set(run: Run, statement: SetStatement | None, n: int, *, point: str | None = None) -> dict[str, Any]:
    """Return the JSON form of a statement on ``n`` judged pictures, or why there is none: `statement_note`."""
    if statement is not None:
        told = {**statement.to_dict(), "compared_with": compared_with(run, point)}
        return {"statement": told, "statement_note": None}
    return {"statement": None, "statement_note": _why_not(run, n, point)}


def set_state(statement: Mapping[str, Any] | None, effect: Mapping[str, Any] | None) -> str | None:
    """Return one of `SET_STATES`, of the JSON forms of a statement and of an effect size; None: nothing is said."""
    if statement is None:
        return None
    unlike, apart, alike = SET_STATES
    if statement["is_unlike"]:
        return unlike
    # Of other data than those of training it is no news that their vectors are others.
    is_own = statement["compared_with"]["rows"] == _OWN
    auc = None if effect is None or not is_own else effect["auc"]
    return apart if auc is not None and auc["low"] is not None and auc["low"] >= APART_FROM else alike


def _why_not(run: Run, n: int, point: str | None) -> str:
    if run.likeness is None:
        return "the run keeps no known scores: it is of an earlier version, or validation lacked a class"
    if n < LEAST_SET:
        return f"{n} judged, {LEAST_SET} are needed"
    return f"the known scores, of {compared_with(run, point)['dataset']}, lack two groups of real or of AI rows"
