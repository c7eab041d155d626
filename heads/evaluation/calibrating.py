"""Operating points for scores that another program wrote."""

from __future__ import annotations

import numpy as np

from featcache import FeatureStore
from heads.evaluation.detectors import ScoreFile
from heads.evaluation.truth import UNNAMED, read_truth
from heads.verdicts.draws import BudgetedRows
from heads.verdicts.guarantees import Demand, build_point
from heads.verdicts.points import OperatingPoint

__all__ = ["calibrate_scores"]


def calibrate_scores(
    scores: ScoreFile, store: FeatureStore, demand: Demand, *, name: str | None = None
) -> OperatingPoint:
    """Find the operating point that keeps budgets of errors on all labelled rows of split ``valid`` that have a score.

    Whether the detector has seen these rows, nobody here can know: the guarantee holds if it has not.

    Raises
    ------
    HeadsError
        If no labelled row of ``valid`` has a score, or there are too few for the budgets.
    """
    truth = read_truth(store, "valid")
    # What is drawn of groups does not depend on the order of a manifest.
    truth = truth.select(np.argsort(truth.sample_id, kind="stable"))
    found = scores.score(truth, "clean", prior=None)
    own = truth.select(found.rows)
    named = own.slices["origin"] != UNNAMED
    origins = np.where(named, own.slices["origin"], "") if named.any() else None
    rows = BudgetedRows(own.y, own.groups, origins, str(store.dataset), "valid", "clean")
    return build_point(name or demand.name, found.raw, rows, demand)
