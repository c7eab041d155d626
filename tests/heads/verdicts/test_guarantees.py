"""Laws of operating points with a guarantee: they keep what they promise, and promise nothing that rows cannot show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from heads.errors import HeadsError
from heads.statistics.intervals import bound
from heads.statistics.resampling import draw_weights
from heads.verdicts.draws import BudgetedRows, draw_one_a_group
from heads.verdicts.guarantees import (
    Demand,
    allowed_errors,
    build_point,
    check_enough,
    lower_threshold,
    upper_threshold,
)


def make(y: Any, groups: Any = None, origins: Any = None) -> BudgetedRows:
    y = np.asarray(y, dtype=np.int64)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups, dtype=np.int64)
    return BudgetedRows(
        y, groups, None if origins is None else np.asarray(origins, np.str_), "photos", "valid", "clean"
    )


def draw(n_real: int, n_ai: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels."""
    rng = np.random.default_rng(seed)
    z = np.concatenate([rng.normal(-1, 1, n_real), rng.normal(1, 1, n_ai)])
    return (1 / (1 + np.exp(-z))).astype(np.float32), np.repeat([0, 1], [n_real, n_ai])


def tail(n_errors: int, n: int, rate: float) -> float:
    """Probability of so few errors or fewer, term by term."""
    return math.fsum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n_errors + 1))


def slow_bound(n_errors: int, n: int, confidence: float) -> float:
    """The rate at which so few errors are as rare as one minus the confidence, by bisection."""
    low, high = n_errors / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(n_errors, n, middle) > 1 - confidence else (low, middle)
    return high


@pytest.mark.parametrize(("n", "budget", "confidence"), [(58, 0.05, 0.95), (59, 0.05, 0.95), (143, 0.1, 0.9)])
def test_errors_are_allowed_as_long_as_the_bound_is_within_the_budget(n: int, budget: float, confidence: float) -> None:
    within = [k for k in range(n) if slow_bound(k, n, confidence) <= budget]
    assert allowed_errors(n, budget, confidence) == max(within, default=-1)


@pytest.mark.parametrize("decimals", [8, 1])
@pytest.mark.parametrize("n_allowed", [0, 3])
def test_thresholds_are_the_first_and_the_last_that_allow_so_many_errors(decimals: int, n_allowed: int) -> None:
    scores = np.round(draw(40, 0)[0], decimals)
    upper, lower = upper_threshold(scores, n_allowed), lower_threshold(scores, n_allowed)
    assert (scores >= np.float32(upper)).sum() <= n_allowed
    assert (scores < lower).sum() <= n_allowed < (scores <= lower).sum()
    # One step lower, in the type of the scores, is a score that would be an error too many.
    below = np.nextafter(np.float32(upper), np.float32(0))
    assert below in scores and (scores >= below).sum() > n_allowed


def test_a_point_says_what_was_counted() -> None:
    raw, y = draw(150, 80)
    point = build_point("p", raw, make(y), Demand(max_fpr=0.05))
    (found,) = point.guarantees
    assert point.ai_from == point.real_below and not point.abstains
    assert (found.rate, found.unit, found.n, found.dataset, found.rows) == ("fpr", "row", 150, "photos", "valid")
    assert found.n_errors == (raw[:150] >= point.ai_from).sum() == allowed_errors(150, 0.05, 0.95)
    assert found.bound == pytest.approx(slow_bound(found.n_errors, 150, 0.95)) and found.bound <= 0.05
    assert found.expected == pytest.approx((raw[150:] >= point.ai_from).mean())
    assert found.low is not None and found.high is not None and found.low < found.expected < found.high


def test_a_budget_of_missed_pictures_is_the_mirror_of_one_of_false_alarms() -> None:
    raw, y = draw(150, 80)
    fpr = build_point("p", raw, make(y), Demand(max_fpr=0.05))
    fnr = build_point("p", 1 - raw, make(1 - y), Demand(max_fnr=0.05))
    assert fnr.real_below == pytest.approx(1 - fpr.ai_from, abs=1e-6)
    assert fnr.guarantees[0].n_errors == fpr.guarantees[0].n_errors
    assert fnr.guarantees[0].expected == pytest.approx(fpr.guarantees[0].expected)


def test_between_two_budgets_nothing_is_said() -> None:
    raw, y = draw(200, 200)
    demand = Demand(max_fpr=0.05, max_fnr=0.05)
    point = build_point("p", raw, make(y), demand)
    alone = [build_point("p", raw, make(y), each) for each in (Demand(max_fpr=0.05), Demand(max_fnr=0.05))]
    assert point.abstains and (point.ai_from, point.real_below) == (alone[0].ai_from, alone[1].ai_from)
    assert [g.rate for g in point.guarantees] == ["fpr", "fnr"]
    assert point.guarantees[1].expected == pytest.approx((raw[:200] < point.real_below).mean())


def test_where_thresholds_keep_both_budgets_the_middle_one_decides() -> None:
    raw, y = draw(200, 200)
    raw = np.where(y == 1, raw / 4 + 0.75, raw / 4)
    point = build_point("p", raw, make(y), Demand(max_fpr=0.05, max_fnr=0.05))
    ends = [build_point("p", raw, make(y), each).ai_from for each in (Demand(max_fpr=0.05), Demand(max_fnr=0.05))]
    assert not point.abstains and raw[:200].max() < point.ai_from < raw[200:].min()
    assert point.ai_from == sum(ends) / 2
    assert [g.n_errors for g in point.guarantees] == [0, 0]


def test_a_group_counts_once_whatever_its_size() -> None:
    groups = np.repeat(np.arange(100), 5)
    drawn = draw_one_a_group(groups)
    assert groups[drawn].tolist() == list(range(100)) and len({*(drawn % 5).tolist()}) == 5
    # Another draw would be another threshold: it must not change.
    assert draw_one_a_group(np.repeat(np.arange(6), 4)).tolist() == [2, 4, 10, 12, 18, 21]
    assert (draw_one_a_group(groups) == drawn).all()
    raw, y = draw(500, 60)
    rows = make(y, np.concatenate([groups, 100 + np.arange(60)]))
    (found,) = build_point("p", raw, rows, Demand(max_fpr=0.05)).guarantees
    assert (found.unit, found.n) == ("group", 100)
    with pytest.raises(HeadsError, match=r"needs 149 groups with real rows .* found 100 "):
        check_enough(rows, Demand(max_fpr=0.02))


def test_the_interval_of_what_a_budget_buys_is_that_of_resampled_groups() -> None:
    rng = np.random.default_rng(0)
    of_ai = np.repeat(np.arange(40), rng.integers(1, 20, 40))
    raw, y = draw(80, len(of_ai))
    raw[80:] **= np.where(of_ai % 2, 0.3, 1.5)
    (found,) = build_point("p", raw, make(y, np.append(np.arange(80), 80 + of_ai)), Demand(max_fpr=0.05)).guarantees
    hits = np.bincount(of_ai, weights=raw[80:] >= build_point("p", raw, make(y), Demand(max_fpr=0.05)).ai_from)
    weights = draw_weights(40, n_resamples=4000)
    resampled = (weights @ hits) / (weights @ np.bincount(of_ai))
    expected = bound(np.append(hits.sum() / len(of_ai), resampled), 40, scale="logit")
    assert found.expected == pytest.approx(expected.estimate)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    for n_groups, is_known in ((1, False), (2, True)):
        groups = np.append(np.arange(80), 80 + of_ai % n_groups)
        (found,) = build_point("p", raw, make(y, groups), Demand(max_fpr=0.05)).guarantees
        assert (found.low is not None) == (found.high is not None) == is_known and found.expected is not None


def test_every_origin_keeps_the_budget_and_the_worst_decides() -> None:
    raw, y = draw(300, 100)
    origins = np.where(np.arange(400) < 150, "phone", "scan")
    raw = np.where((origins == "scan") & (y == 0), raw**0.5, raw)
    one = build_point("p", raw, make(y, origins=origins), Demand(max_fpr=0.05, by_origin=True))
    (found,) = one.guarantees
    assert [o.origin for o in found.origins] == ["phone", "scan"] and [o.n for o in found.origins] == [150, 150]
    phone, scan = found.origins
    assert (found.n, found.n_errors, found.bound) == (scan.n, scan.n_errors, scan.bound)
    assert phone.n_errors < scan.n_errors == allowed_errors(150, 0.05, 0.975)
    assert scan.bound == pytest.approx(slow_bound(scan.n_errors, 150, 0.975))
    assert one.ai_from > build_point("p", raw, make(y), Demand(max_fpr=0.05)).ai_from


@pytest.mark.parametrize(
    ("rows", "demand", "told"),
    [
        (
            make([0] * 143),
            Demand(max_fpr=0.01),
            r"0.01 at 95 % .* needs 299 real rows .* found 143 .* --max-fpr 0.021 or",
        ),
        (make([0] * 58 + [1]), Demand(max_fpr=0.05), "needs 59 real rows .* found 58 among the valid rows of 'photos'"),
        (make([0] * 99), Demand(max_fnr=0.05), "needs 59 AI rows .* found 0 "),
        (make([0]), Demand(max_fpr=0.05), "found 1 among the valid rows of 'photos': calibrate on another --dataset"),
        (
            make([1] * 99, groups=[n // 2 for n in range(99)], origins=[""] * 99),
            Demand(max_fnr=0.05, by_origin=True),
            "needs 59 groups with AI rows of each origin .* found 50 without an origin among",
        ),
        (make([]), Demand(max_fpr=0.05), "needs 59 real rows .* found 0 "),
        (
            make([0] * 99, origins=["a"] * 30 + ["b"] * 69),
            Demand(max_fpr=0.05, by_origin=True),
            "at 97.5 % .* needs 72 real rows of each origin .* 30 of origin 'a', 69 of origin 'b' .* 0.116 or more",
        ),
        (
            make([0] * 6, origins=list("abcdef")),
            Demand(max_fpr=0.05, by_origin=True),
            r"1 of origin 'd' \(and 2 more origins\) among",
        ),
        (make([0] * 99), Demand(max_fpr=0.05, by_origin=True), "'photos' has an origin: --by origin needs a column"),
    ],
)
def test_too_few_rows_are_refused_with_the_number_that_is_needed(rows: Any, demand: Demand, told: str) -> None:
    check_enough(make([0] * 59), Demand(max_fpr=0.05))
    for check in (lambda: check_enough(rows, demand), lambda: build_point("p", draw(len(rows.y), 0)[0], rows, demand)):
        with pytest.raises(HeadsError, match=told):
            check()


@pytest.mark.parametrize(
    ("raw", "demand", "told"),
    [
        ([1.0] * 60, Demand(max_fpr=0.05), "too many real rows score exactly 1: .* would need a score above 1"),
        ([0.0] * 60, Demand(max_fnr=0.05), "too many AI rows score exactly 0: .* would need a score below 0"),
        ([np.nan] + [0.5] * 59, Demand(max_fpr=0.05), r"P\(AI\) of 1 of 60 rows is not finite"),
    ],
)
def test_scores_that_no_threshold_can_part_are_refused(raw: Any, demand: Demand, told: str) -> None:
    rows = make([0 if demand.max_fpr else 1] * 60)
    with pytest.raises(HeadsError, match=told):
        build_point("p", np.array(raw, dtype=np.float32), rows, demand)


def test_the_origin_that_no_threshold_parts_is_named_and_the_largest_threshold_is_1() -> None:
    raw = np.repeat(np.array([0.5, 1.0], dtype=np.float32), 80)
    rows, demand = make([0] * 160, origins=["a"] * 80 + ["b"] * 80), Demand(max_fpr=0.05, by_origin=True)
    with pytest.raises(HeadsError, match="rows of origin 'b' score exactly 1"):
        build_point("p", raw, rows, demand)
    assert build_point("p", np.nextafter(raw, np.float32(0)), rows, demand).ai_from == 1.0


def test_equal_scores_are_all_on_one_side() -> None:
    raw = np.full(60, 0.5, dtype=np.float32)
    point = build_point("p", raw, make([0] * 60), Demand(max_fpr=0.05))
    assert point.ai_from > 0.5 and not point.is_ai(raw).any()
    (found,) = point.guarantees
    assert (found.n_errors, found.expected, found.low, found.high) == (0, None, None, None)


@pytest.mark.parametrize(
    "values", [{"max_fpr": 0.0}, {"max_fpr": 1.5}, {"max_fnr": math.nan}, {"max_fpr": 0.05, "confidence": 1.0}]
)
def test_a_demand_has_shares(values: dict[str, float]) -> None:
    with pytest.raises(HeadsError, match=r"^--(max-fpr|max-fnr|confidence) is"):
        Demand(**values)


def test_a_demand_names_its_point() -> None:
    assert Demand(max_fpr=0.05).name == "fpr-0.05"
    assert Demand(0.05, 0.1, confidence=0.9, by_origin=True).name == "fpr-0.05-fnr-0.1-confidence-0.9-by-origin"


N_CALIBRATIONS = 2000


def normal_tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def as_score(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "budget"), [(150, 0.05), (400, 0.01)])
def test_a_budget_is_broken_as_rarely_as_promised(n: int, budget: float) -> None:
    rng = np.random.default_rng(0)
    broken = {"kept": 0, "naive": 0}
    for _ in range(N_CALIBRATIONS):
        raw = as_score(rng.normal(size=n))
        point = build_point("p", raw, make([0] * n), Demand(max_fpr=budget))
        broken["kept"] += normal_tail(logit(point.ai_from)) > budget
        broken["naive"] += normal_tail(logit(float(np.quantile(raw, 1 - budget)))) > budget
    assert broken["kept"] / N_CALIBRATIONS <= 0.065
    assert 0.4 < broken["naive"] / N_CALIBRATIONS < 0.65


@pytest.mark.slow
def test_a_budget_of_groups_is_broken_as_rarely_as_promised() -> None:
    n_groups, budget, spread = 150, 0.05, 1.0
    rng = np.random.default_rng(1)
    broken = {"groups": 0, "rows": 0}
    for _ in range(N_CALIBRATIONS):
        centre = spread * rng.normal(size=n_groups)
        # Of a random row of a random group a normal variable, whatever the sizes of groups.
        sizes = 1 + rng.poisson(4 * np.exp(-centre / 2))
        groups = np.repeat(np.arange(n_groups), sizes)
        raw = as_score(centre[groups] + rng.normal(size=len(groups)))
        for name, numbers in (("groups", groups), ("rows", np.arange(len(groups)))):
            point = build_point("p", raw, make([0] * len(groups), numbers), Demand(max_fpr=budget))
            broken[name] += normal_tail(logit(point.ai_from) / math.hypot(1, spread)) > budget
    assert broken["groups"] / N_CALIBRATIONS <= 0.065
    assert broken["rows"] / N_CALIBRATIONS > 0.3
