"""Operating points with a guarantee: thresholds from a budget of errors, on rows that neither trained nor selected.

Scores of real rows are exchangeable with those of other real pictures of the same kind. The errors of a fixed threshold
among n independent draws are binomial, so that with a given confidence the rate of errors is below the Clopper–Pearson
bound of what was counted. The smallest threshold that keeps ``k`` errors, the most whose bound is within the budget, is
just above the (k + 1)-th largest score: wherever the true quantile lies, it is missed with one minus the confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import BoolArray, IntArray
from heads.errors import HeadsError
from heads.files.ranges import Range
from heads.statistics.intervals import clopper_pearson_upper, least_n, t_interval
from heads.verdicts.draws import LABELS, BudgetedRows, Draws, Rate
from heads.verdicts.points import Guarantee, OperatingPoint, OriginBound

__all__ = [
    "BUDGETS",
    "CONFIDENCE",
    "CONFIDENCES",
    "Demand",
    "allowed_errors",
    "build_point",
    "check_enough",
    "lower_threshold",
    "upper_threshold",
]

Scores = NDArray[np.floating[Any]]
CONFIDENCE = 0.95
BUDGETS, CONFIDENCES = Range(float, 1e-6, 0.5), Range(float, 0.5, 1 - 1e-6)
"""What a budget of errors, and how surely it is kept, may be."""
_NAMES = ("real", "AI")
_SHOWN = 4


@dataclass(frozen=True)
class Demand:
    """What is asked of an operating point.

    Attributes
    ----------
    max_fpr, max_fnr : float or None
        Budgets: the share of real pictures that may be called AI, and of AI pictures that may be called real.
    confidence : float
        That one budget is kept.
    by_origin : bool
        Whether a budget holds in each origin, and not only over all of them.
    """

    max_fpr: float | None = None
    max_fnr: float | None = None
    confidence: float = CONFIDENCE
    by_origin: bool = False

    def __post_init__(self) -> None:
        for rate, budget in self.budgets.items():
            BUDGETS.check(budget, f"--max-{rate}")
        CONFIDENCES.check(self.confidence, "--confidence")
        if not self.budgets and self.confidence != CONFIDENCE:
            raise HeadsError(
                f"--confidence {self.confidence:g} is of a budget, and there is none: name it too, e.g. --max-fpr 0.05"
            )

    @property
    def budgets(self) -> dict[Rate, float]:
        """The budgets that there are."""
        given: dict[Rate, float | None] = {"fpr": self.max_fpr, "fnr": self.max_fnr}
        return {rate: budget for rate, budget in given.items() if budget is not None}

    @property
    def name(self) -> str:
        """What an operating point of this demand is called where nobody gives it a name, e.g. ``fpr-0.05``."""
        words = [f"{rate}-{budget:g}" for rate, budget in self.budgets.items()]
        words += [f"confidence-{self.confidence:g}"] if self.confidence != CONFIDENCE else []
        return "-".join([*words, "by-origin"] if self.by_origin else words)


def allowed_errors(n: int, budget: float, confidence: float) -> int:
    """Return how many errors in ``n`` draws keep the upper bound within the budget; -1 if not even none does."""
    counts = np.arange(int(budget * n) + 1)
    return int(np.count_nonzero(clopper_pearson_upper(counts, n, confidence) <= budget)) - 1


def upper_threshold(scores: Scores, n_allowed: int) -> float:
    """Return the smallest threshold that at most so many scores reach; above 1 where more of them are 1."""
    highest = np.sort(scores)[::-1][n_allowed]
    # The next number of their own type: what is between would be the same for every score.
    return float(np.nextafter(highest, highest.dtype.type(np.inf)))


def lower_threshold(scores: Scores, n_allowed: int) -> float:
    """Return the largest threshold that at most so many scores are below."""
    return float(np.sort(scores)[n_allowed])


def check_enough(rows: BudgetedRows, demand: Demand) -> None:
    """Raise, with the number that is needed, unless there are draws enough for the budgets: before anything is fitted.

    Raises
    ------
    HeadsError
        If there are not.
    """
    for rate, budget in demand.budgets.items():
        draws = rows.draws(rate, by_origin=demand.by_origin)
        confidence = _share(demand, draws)
        needed = least_n(budget, confidence)
        few = [(origin, found) for origin, found in draws if len(found) < needed]
        if few:
            raise HeadsError(_too_few(rows, rate, demand, few, confidence=confidence))


def build_point(name: str, raw: Scores, rows: BudgetedRows, demand: Demand) -> OperatingPoint:
    """Choose the thresholds that keep the budgets, and say what is known of them.

    With both budgets AI is said from the one threshold on, real below the other, and between them nothing (unsure);
    where thresholds keep both budgets, the middle one of them decides alone.

    Parameters
    ----------
    name : str
    raw : float array (n,)
        P(AI) as the head gives it.
    rows : BudgetedRows
    demand : Demand

    Raises
    ------
    HeadsError
        If there are too few rows, or scores are not told apart where the threshold would have to be.
    """
    if not np.isfinite(raw).all():
        raise HeadsError(f"P(AI) of {int((~np.isfinite(raw)).sum())} of {len(raw)} rows is not finite")
    check_enough(rows, demand)
    bounds = {rate: _Bound.find(rate, raw, rows, demand) for rate in demand.budgets}
    upper, lower = (bounds[rate].threshold if rate in bounds else None for rate in LABELS)
    if upper is None or lower is None:
        upper = lower = next(value for value in (upper, lower) if value is not None)
    elif lower >= upper:
        upper = lower = (upper + lower) / 2
    point = OperatingPoint(name, rows.view, upper, lower)
    return replace(point, guarantees=tuple(_guarantee(bound, point, raw, rows) for bound in bounds.values()))


@dataclass(frozen=True)
class _Bound:
    """The threshold that keeps a budget in every origin, and by which draws it was found."""

    rate: Rate
    demand: Demand
    draws: Draws
    allowed: Sequence[int]
    threshold: float
    decided_by: int

    @property
    def confidence(self) -> float:
        """What is left to each origin, so that together they have what is asked for (Bonferroni)."""
        return _share(self.demand, self.draws)

    @classmethod
    def find(cls, rate: Rate, raw: Scores, rows: BudgetedRows, demand: Demand) -> _Bound:
        draws, budget = rows.draws(rate, by_origin=demand.by_origin), demand.budgets[rate]
        allowed = [allowed_errors(len(found), budget, _share(demand, draws)) for _, found in draws]
        choose, pick = (upper_threshold, max) if rate == "fpr" else (lower_threshold, min)
        each = [choose(raw[found], n) for (_, found), n in zip(draws, allowed, strict=True)]
        threshold = pick(each)
        bound = cls(rate, demand, draws, allowed, threshold, each.index(threshold))
        if not 0 < threshold <= 1:
            raise HeadsError(bound.refusal)
        return bound

    @property
    def refusal(self) -> str:
        """Say why no threshold keeps the budget."""
        origin = self.draws[self.decided_by][0]
        where = f" {_of_origin(origin)}" if self.demand.by_origin else ""
        score, wish = ("1", "a score above 1") if self.rate == "fpr" else ("0", "a score below 0")
        return (
            f"too many {_NAMES[LABELS[self.rate]]} rows{where} score exactly {score}: a threshold that keeps "
            f"--max-{self.rate} {self.demand.budgets[self.rate]:g} would need {wish}; allow more, or fit a head that "
            "is less sure of itself"
        )


def _share(demand: Demand, draws: Draws) -> float:
    return 1 - (1 - demand.confidence) / len(draws)


def _guarantee(bound: _Bound, point: OperatingPoint, raw: Scores, rows: BudgetedRows) -> Guarantee:
    rate, demand, scores = bound.rate, bound.demand, raw.astype(np.float64)
    # The errors of one class are what is right of the other.
    called = scores >= point.ai_from if rate == "fpr" else scores < point.real_below
    counted = [
        OriginBound(
            origin, len(found), int(called[found].sum()), float(clopper_pearson_upper(n, len(found), bound.confidence))
        )
        for (origin, found), n in zip(bound.draws, bound.allowed, strict=True)
    ]
    worst = counted[bound.decided_by]
    expected, low, high = _rate(called, rows.groups, rows.y == 1 - LABELS[rate])
    return Guarantee(
        rate=rate,
        budget=demand.budgets[rate],
        confidence=demand.confidence,
        unit=rows.unit(rate),
        n=worst.n,
        n_errors=worst.n_errors,
        bound=worst.bound,
        expected=expected,
        low=low,
        high=high,
        dataset=rows.dataset,
        rows=rows.part,
        origins=tuple(counted) if demand.by_origin else (),
        note=rows.note,
    )


def _rate(hits: BoolArray, groups: IntArray, of_class: BoolArray) -> tuple[float | None, float | None, float | None]:
    """Return the share of rows that are hit, and its 95 % interval over groups; None where nothing can be said."""
    codes = np.unique(groups[of_class], return_inverse=True)[1].reshape(-1)
    if not len(codes):
        return None, None, None
    rows = np.bincount(codes)
    rate = float(hits[of_class].mean())
    # What resampling groups would find for a ratio of sums, to the first order.
    se = float(np.sqrt(np.sum((np.bincount(codes, weights=hits[of_class]) - rate * rows) ** 2)) / rows.sum())
    found = t_interval(rate, se, len(rows), scale="logit")
    return (rate, found.low, found.high) if len(rows) > 1 else (rate, None, None)


def _of_origin(origin: str) -> str:
    return f"of origin {origin!r:.80}" if origin else "without an origin"


def _too_few(rows: BudgetedRows, rate: Rate, demand: Demand, few: Draws, *, confidence: float) -> str:
    budget, least = demand.budgets[rate], min(len(found) for _, found in few)
    unit = "groups with " if rows.unit(rate) == "group" else ""
    shown = ", ".join(f"{len(found)} {_of_origin(origin)}" for origin, found in few[:_SHOWN])
    more = f" (and {len(few) - _SHOWN} more origins)" if len(few) > _SHOWN else ""
    each = " of each origin" if demand.by_origin else ""
    able = float(np.ceil(1000 * clopper_pearson_upper(0, least, confidence)) / 1000)
    other = f", or --max-{rate} {able:g} or more" if able <= BUDGETS.most else ""
    return (
        f"--max-{rate} {budget:g} at {100 * confidence:.4g} % confidence needs {least_n(budget, confidence)} "
        f"{unit}{_NAMES[LABELS[rate]]} rows{each} that neither trained nor selected, found "
        f"{shown if demand.by_origin else least}{more} among the {rows.part} rows of {rows.dataset!r:.80}: calibrate "
        f"on another --dataset that has more{other}"
    )
