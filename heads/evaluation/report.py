"""Everything that can be said of a detector on a split: all views, every figure with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache import FeatureStore
from heads.evaluation.curves import count_above, risk_coverage
from heads.evaluation.detectors import Detector, RunDetector, Scored
from heads.evaluation.figures import UNSURE_DECISION, Figures, measure_all
from heads.evaluation.promises import keep_promises
from heads.evaluation.slices import Slice, measure_slices
from heads.evaluation.truth import Truth
from heads.runs.set_statement import compared_with, state_scores, tell_set
from heads.statistics.intervals import Interval, bound_rate
from heads.verdicts.points import OperatingPoint

__all__ = ["Report", "ViewReport", "build_report"]

Rates = dict[str, dict[str, Slice]]


@dataclass(frozen=True)
class ViewReport:
    """What is said of one view.

    Attributes
    ----------
    view : str
    n, n_groups, n_missing : int
        Rows that were scored, sets of rows that belong together, and labelled rows without a score.
    figures : dict of section to dict of name to Interval
        ``decisions`` at the operating point, ``ranking``, ``probabilities``.
    floors : dict of str to float
        Calibration error to expect of true probabilities, beside ``ece`` and ``b_ece``.
    confusion : dict of class to dict of verdict to int
    risk_coverage : list of (float, Interval)
    rates : dict of slice to dict of value to dict
        `measure_slices` by generator, origin, format or size.
    decided : dict of str to Interval or None
        Decisions over the rows that are not unsure; None where the operating point decides all.
    flips : Interval or None
        Share of the rows of both whose verdict on task A is another than in the first view; None of the first.
    curves : dict
        Counts on a grid of thresholds.
    """

    view: str
    n: int
    n_groups: int
    n_missing: int
    figures: dict[str, dict[str, Interval]]
    floors: dict[str, float]
    confusion: dict[str, dict[str, int]]
    risk_coverage: list[tuple[float, Interval]]
    rates: Rates
    decided: dict[str, Interval] | None
    flips: Interval | None
    curves: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; curves are left to `Report.to_file`."""
        return {
            "view": self.view,
            "n": self.n,
            "n_groups": self.n_groups,
            "n_missing": self.n_missing,
            **{name: {k: v.to_dict() for k, v in of.items()} for name, of in self.figures.items()},
            "floors": self.floors,
            "confusion": self.confusion,
            "risk_coverage": [{"coverage": share, "risk": risk.to_dict()} for share, risk in self.risk_coverage],
            "by": {
                by: {
                    value: {k: v.to_dict() if isinstance(v, Interval) else v for k, v in rates.items()}
                    for value, rates in values.items()
                }
                for by, values in self.rates.items()
            },
            "decided": self.decided and {name: each.to_dict() for name, each in self.decided.items()},
            "flips": self.flips and self.flips.to_dict(),
        }


@dataclass(frozen=True)
class Report:
    """A detector on a split.

    Attributes
    ----------
    about : dict
        What the figures are of: detector, run digest, cache, data set, split, operating point, prior;
        ``statement``: whether the scores are those of pictures like the known ones, or why nothing is said of that
        (``statement_note``); and ``promises``: `keep_promises` in the view of the point.
    views : tuple of ViewReport
    point : OperatingPoint
    """

    about: dict[str, Any]
    views: tuple[ViewReport, ...]
    point: OperatingPoint

    def to_dict(self) -> dict[str, Any]:
        """Return the new keys of ``heads evaluate --json``."""
        return {"about": self.about, "views": [view.to_dict() for view in self.views]}

    def to_file(self) -> dict[str, Any]:
        """Return the document that ``--out`` writes: the same, and of each view the counts at every threshold."""
        views = [{**view.to_dict(), "curves": view.curves} for view in self.views]
        return {"format": 1, "kind": "heads-evaluation", "about": self.about, "views": views}


def build_report(
    detector: Detector,
    truth: Truth,
    store: FeatureStore,
    *,
    views: Sequence[str],
    by: Sequence[str] = (),
    point: str | None = None,
    prior: float | None = None,
) -> Report:
    """Score a detector in all views on the labelled rows of a split.

    Parameters
    ----------
    detector : Detector
    truth : Truth
    store : FeatureStore
        The cache that the truth is of.
    views : sequence of str
        The first is what flips are counted from.
    by : sequence of str
        `truth.SLICES`.
    point : str, optional
        The operating point; default: the detector's own.
    prior : float, optional
        Share of AI at which probabilities are judged: real and AI rows are weighted so; default: the detector's own.
    """
    chosen = detector.point(point)
    found: list[ViewReport] = []
    first: Figures | None = None
    told: dict[str, Any] | None = None
    promises: list[dict[str, Any]] = []
    for view in views:
        scored = detector.score(truth, view, prior=prior)
        figures = Figures(truth.select(scored.rows), scored, chosen, prior or detector.maps.prior)
        first = first or figures
        if isinstance(detector, RunDetector):
            told = told or _state(detector, scored, truth.split, view, point=chosen.name)
        if view == chosen.view:
            promises = keep_promises(figures)
        found.append(
            ViewReport(
                view=view,
                n=len(figures.truth),
                n_groups=figures.truth.n_groups,
                n_missing=len(truth) - len(figures.truth),
                figures=measure_all(figures),
                floors=figures.floors(),
                confusion=figures.confusion(),
                risk_coverage=risk_coverage(figures),
                rates={name: measure_slices(figures, name) for name in by},
                decided=_decided(figures),
                flips=None if figures is first else _count_flips(first, figures),
                curves=count_above(figures, detector.points),
            )
        )
    about = {
        "detector": detector.name,
        "run_digest": detector.run.record.digest if isinstance(detector, RunDetector) else None,
        "cache": str(store.path),
        "dataset": str(store.dataset),
        "split": truth.split,
        "point": chosen.to_json(),
        "prior": prior if prior is not None else detector.maps.prior,
        "n": len(truth),
        "n_groups": truth.n_groups,
        "n_unlabelled": truth.n_unlabelled,
        **(told or {"statement": None, "statement_note": _unsaid(detector, truth.split)}),
        "promises": promises,
    }
    return Report(about, tuple(found), chosen)


def _state(detector: RunDetector, scored: Scored, split: str, view: str, *, point: str) -> dict[str, Any] | None:
    """Say whether scores are those of pictures like the known ones; of rows that the head has seen nothing."""
    run = detector.run
    if split in ("train", "valid") or view != compared_with(run, point)["view"]:
        return None
    statement = state_scores(run, scored.raw, point=point)
    return tell_set(run, statement, len(scored.raw), point=point)


def _unsaid(detector: Detector, split: str) -> str | None:
    """Return why nothing is said of a set where no scores were looked at for it."""
    if not isinstance(detector, RunDetector):
        return None
    if split in ("train", "valid"):
        return f"the head was made with rows of {split}"
    return "the view of the known scores was not looked at"


def _decided(figures: Figures) -> dict[str, Interval] | None:
    """Return what decisions are worth where unsure rows are left out."""
    rows = np.flatnonzero(figures.decision != UNSURE_DECISION)
    if not figures.point.abstains or not len(rows):
        return None
    kept = Figures(figures.truth.select(rows), figures.scored.select(rows), figures.point, figures.prior)
    return measure_all(kept)["decisions"]


def _count_flips(first: Figures, other: Figures) -> Interval:
    """Return how many of the rows that both answer get another verdict."""
    _, ours, theirs = np.intersect1d(first.scored.rows, other.scored.rows, return_indices=True)
    return bound_rate(first.decision[ours] != other.decision[theirs], first.truth.groups[ours])
