"""Is one detector better than another? Differences on the same rows, resampled together, with Holm's adjustment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from heads.data.tasks import IntArray
from heads.errors import HeadsError
from heads.evaluation.detectors import Detector, Scored, ScoreFile
from heads.evaluation.figures import N_RESAMPLES, Figures
from heads.evaluation.truth import Truth
from heads.statistics.intervals import Interval, bound, difference_p_value, holm
from heads.statistics.resampling import FloatArray, resample, standard_error

__all__ = ["COMPARED", "Comparison", "Difference", "compare"]

COMPARED = ("balanced_accuracy", "fpr", "tpr", "auc", "b_f1_macro", "nll")
"""Figures that are compared."""
LESS_IS_BETTER = frozenset({"fpr", "nll"})
_LEVEL = 0.95
_FEW_GROUPS = 5


@dataclass(frozen=True)
class Difference:
    """One figure of one detector, less that of the first.

    Attributes
    ----------
    detector, view, figure : str
    first, other : float
        The figure of either.
    difference : Interval
        ``other - first``.
    p_value : float
        Two-sided, adjusted by Holm for all differences of the table.
    verdict : {"better", "worse", "no difference shown"}
        What 95 % confidence for the whole table allows to say.
    """

    detector: str
    view: str
    figure: str
    first: float
    other: float
    difference: Interval
    p_value: float
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        plain = {name: None if value != value else value for name, value in vars(self).items()}  # NaN is no JSON
        return {**plain, "difference": self.difference.to_dict()}


@dataclass(frozen=True)
class Comparison:
    """Several detectors on the rows that all of them answer.

    Attributes
    ----------
    split : str
    names, points : tuple of str
        Detectors, the first is what the others are compared with; and the operating point of each.
    n, n_groups : int
        Rows that all answer in all views.
    prior : float or None
        Share of AI at which probabilities are judged, that of the first run; None: scores are judged as they are.
    answered : mapping of str to int
        How many of the split's labelled rows each detector answers in all views.
    differences : tuple of Difference
    """

    split: str
    names: tuple[str, ...]
    points: tuple[str, ...]
    n: int
    n_groups: int
    prior: float | None
    answered: Mapping[str, int]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``heads compare --json`` prints."""
        return {
            **vars(self),
            "answered": dict(self.answered),
            "differences": [difference.to_dict() for difference in self.differences],
        }


def compare(
    detectors: Sequence[Detector],
    truth: Truth,
    *,
    views: Sequence[str],
    shared: bool = False,
    point: str | None = None,
) -> Comparison:
    """Compare detectors with the first of them, each at its own operating point.

    Parameters
    ----------
    detectors : sequence of Detector
        At least two, of different names.
    truth : Truth
    views : sequence of str
    shared : bool
        Whether rows that only some of them answer are left out; otherwise they are refused.
    point : str, optional
        Name of the operating point of all; default: each detector's own.

    Raises
    ------
    HeadsError
        If the detectors answer different rows, or none in common.
    """
    names = tuple(detector.name for detector in detectors)
    doubled = [name for name in names if names.count(name) > 1]
    if doubled or len(names) < 2:
        what = f"{doubled[0]} is named twice" if doubled else "there is one detector"
        raise HeadsError(f"{what}, expected two or more that differ")
    _check_views(detectors, views)
    prior = _common_prior(detectors)
    scored = {(each.name, view): each.score(truth, view, prior=prior) for each in detectors for view in views}
    answered = {name: reduce(np.intersect1d, [scored[name, view].rows for view in views]) for name in names}
    rows = reduce(np.intersect1d, answered.values())
    _check_rows(answered, len(rows), len(truth), shared=shared)
    of_all = truth.select(rows)
    points = [detector.point(point) for detector in detectors]
    differences: list[Difference] = []
    for view in views:
        figures = [
            Figures(of_all, _take(scored[name, view], rows), own, prior)
            for name, own in zip(names, points, strict=True)
        ]
        differences += _differences(figures, names, view)
    adjusted = holm([each.p_value for each in differences])
    return Comparison(
        split=truth.split,
        names=names,
        points=tuple(own.name for own in points),
        n=len(rows),
        n_groups=of_all.n_groups,
        prior=prior,
        answered={name: len(found) for name, found in answered.items()},
        differences=tuple(_decide(each, float(p)) for each, p in zip(differences, adjusted, strict=True)),
    )


def _check_views(detectors: Sequence[Detector], views: Sequence[str]) -> None:
    """Raise if a file of scores, which has one score a row, is to be compared in several views."""
    files = [each.name for each in detectors if isinstance(each, ScoreFile)]
    if files and len(views) > 1:
        raise HeadsError(
            f"scores {files[0]} are of one view of the pictures, found {len(views)} views: compare them in one, --view"
        )


def _common_prior(detectors: Sequence[Detector]) -> float | None:
    """Return the prior of the first detector, if the probabilities of all can be moved to it."""
    priors = [each.maps.prior for each in detectors]
    return None if None in priors else priors[0]


def _check_rows(answered: Mapping[str, Any], n_shared: int, n: int, *, shared: bool) -> None:
    if not n_shared:
        raise HeadsError("there is no labelled row that all of these detectors answer")
    if not shared and any(len(rows) != n_shared for rows in answered.values()):
        counts = ", ".join(f"{name} {len(rows)}" for name, rows in answered.items())
        raise HeadsError(
            f"these detectors answer different rows of {n} ({counts}; all of them {n_shared}): --shared compares them "
            "on those that all answer"
        )


def _take(scored: Scored, rows: IntArray) -> Scored:
    """Return what is said of some rows of the truth, all of which are answered."""
    order = np.argsort(scored.rows, kind="stable")
    return scored.select(order[np.searchsorted(scored.rows, rows, sorter=order)])


def _differences(figures: Sequence[Figures], names: Sequence[str], view: str) -> list[Difference]:
    """Measure all detectors on the same resamples."""
    resampled = [resample(each.measure, each.truth.n_groups, n_resamples=N_RESAMPLES) for each in figures]
    listed = {figure.name: figure for figure in figures[0].listed}
    found = []
    for name, own in zip(names[1:], resampled[1:], strict=True):
        for figure in COMPARED:
            if figure in own and figure in resampled[0]:
                n_groups = figures[0].count_groups(listed[figure])
                found.append(_difference(name, view, figure, (resampled[0][figure], own[figure]), n_groups))
    return found


def _difference(name: str, view: str, figure: str, both: tuple[FloatArray, FloatArray], n_groups: int) -> Difference:
    values = both[1] - both[0]
    interval = bound(values, n_groups, level=_LEVEL)
    few = n_groups < _FEW_GROUPS  # resamples of so few do not know their own spread
    p_value = 1.0 if few else difference_p_value(float(values[0]), standard_error(values[1:]), n_groups)
    return Difference(name, view, figure, float(both[0][0]), float(both[1][0]), interval, p_value, "")


def _decide(each: Difference, p_value: float) -> Difference:
    verdict = "no difference shown"
    if p_value < 1 - _LEVEL:
        is_more = each.difference.estimate > 0
        verdict = "better" if is_more != (each.figure in LESS_IS_BETTER) else "worse"
    return Difference(**{**vars(each), "p_value": p_value, "verdict": verdict})
