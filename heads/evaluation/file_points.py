"""Operating points for scores of another program, on the valid rows of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featcache import FeatureStore
from heads.evaluation.detectors import ScoreFile
from heads.evaluation.truth import UNNAMED, read_truth
from heads.verdicts.draws import BudgetedRows
from heads.verdicts.guarantees import Demand, build_point
from heads.verdicts.points import OperatingPoint

__all__ = ["FilePoint", "calibrate_scores"]


@dataclass(frozen=True)
class FilePoint:
    """What was found.

    Attributes
    ----------
    point : OperatingPoint
        Whether the detector was fitted or selected on some of these rows, only who made it knows.
    n, n_missing : int
        Labelled valid rows that have a score, and that have none.
    """

    point: OperatingPoint
    n: int
    n_missing: int


def calibrate_scores(scores: ScoreFile, store: FeatureStore, demand: Demand, *, name: str | None = None) -> FilePoint:
    """Find an operating point that keeps budgets on the valid rows; test rows are never read.

    Raises
    ------
    HeadsError
        If there are too few rows, with the number that is needed.
    """
    truth = read_truth(store, "valid")
    # By sample_id: what is drawn of groups does not depend on the order of a manifest.
    truth = truth.select(np.argsort(truth.sample_id, kind="stable"))
    found = scores.score(truth, "clean", prior=None)
    known = truth.select(found.rows)
    origin = known.slices["origin"]
    origins = None if (origin == UNNAMED).all() else origin
    rows = BudgetedRows(known.y, known.groups, origins, store.dataset, "valid", "clean")
    point = build_point(name or demand.name, found.raw, rows, demand)
    return FilePoint(point, len(known), len(truth) - len(known))
