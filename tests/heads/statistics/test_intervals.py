"""Laws of intervals: exact bounds are exact, t widens what few groups know, and several tests hold together."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.errors import HeadsError
from heads.statistics.decisions import DecisionCounts, false_positive_rate
from heads.statistics.intervals import (
    Interval,
    Scale,
    bound,
    bound_rate,
    clopper_pearson_lower,
    clopper_pearson_upper,
    difference_p_value,
    holm,
    least_n,
    t_interval,
)
from heads.statistics.resampling import resample

T_9 = 2.2621571628  # 97.5 % of Student's t with 9 degrees of freedom
WIDER = math.sqrt(10 / 9)


def at_most(errors: int, n: int, rate: float) -> float:
    """How often a binomial is at most ``errors``, term by term."""
    return sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(errors + 1))


@pytest.mark.parametrize(("errors", "n"), [(0, 1), (0, 59), (3, 40), (39, 40), (17, 300)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_at_an_upper_bound_so_few_errors_are_as_rare_as_claimed(errors: int, n: int, confidence: float) -> None:
    upper = float(clopper_pearson_upper(errors, n, confidence))
    assert at_most(errors, n, upper) == pytest.approx(1 - confidence)
    lower = float(clopper_pearson_lower(n - errors, n, confidence))
    assert lower == pytest.approx(1 - upper)


def test_bounds_of_all_rows_and_of_none_are_those_of_every_rate() -> None:
    assert clopper_pearson_upper(0, 59) < 0.05 < clopper_pearson_upper(0, 58) and least_n(0.05) == 59
    assert clopper_pearson_lower(58, 58) < 0.95 < clopper_pearson_lower(59, 59)
    assert clopper_pearson_upper([4, 0], [4, 0]).tolist() == [1, 1]
    assert clopper_pearson_lower([0, 0], [4, 0]).tolist() == [0, 0]
    assert clopper_pearson_upper(np.arange(3)[:, None], [10, 20]).shape == (3, 2)


@pytest.mark.parametrize(
    ("budget", "confidence", "n"),
    [
        (0.05, 0.95, 59),
        (0.01, 0.95, 299),
        (0.5, 0.5, 1),
        (0.5, 0.875, 3),
        (0.9, 0.1, 1),
        (0.9, 1e-12, 1),
        (0.001, 0.99, 4603),
    ],
)
def test_the_least_n_is_the_first_whose_bound_without_errors_is_within_the_budget(
    budget: float, confidence: float, n: int
) -> None:
    assert least_n(budget, confidence) == n
    assert clopper_pearson_upper(0, n, confidence) <= budget * (1 + 1e-9)
    assert clopper_pearson_upper(0, n - 1, confidence) > budget


@pytest.mark.parametrize(("budget", "confidence"), [(0, 0.95), (1, 0.95), (0.05, 1), (0.05, 0), (math.nan, 0.5)])
def test_budgets_and_confidences_lie_between_0_and_1(budget: float, confidence: float) -> None:
    with pytest.raises(HeadsError, match="between 0 and 1"):
        least_n(budget, confidence)


@pytest.mark.parametrize(
    ("scale", "estimate", "low", "high"),
    [
        ("identity", -0.1, -0.1 - T_9 * WIDER * 0.02, -0.1 + T_9 * WIDER * 0.02),
        ("logit", 0.8, 1 / (1 + math.exp(0.1 * T_9 * WIDER) / 4), 1 / (1 + math.exp(-0.1 * T_9 * WIDER) / 4)),
        ("log", 0.5, 0.5 * math.exp(-0.04 * T_9 * WIDER), 0.5 * math.exp(0.04 * T_9 * WIDER)),
        ("log", 0.0, 0.0, T_9 * WIDER * 0.02),
    ],
)
def test_an_interval_is_symmetric_on_its_scale(scale: Scale, estimate: float, low: float, high: float) -> None:
    se = 0.1 * 0.16 if scale == "logit" else 0.02
    found = t_interval(estimate, se, 10, scale=scale)
    assert (found.estimate, found.level, found.n_groups) == (estimate, 0.95, 10)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("estimate", [0.0, 0.02, 1.0])
def test_where_resamples_cannot_say_the_bound_is_that_of_as_many_rows_as_groups(estimate: float) -> None:
    found, told = (t_interval(estimate, 0.0, 50, scale="logit", n_effective=n) for n in (None, 200))
    for interval, n in ((found, 50), (told, 200)):
        errors = round(estimate * n)
        assert interval.low == clopper_pearson_lower(errors, n, 0.975)
        assert interval.high == clopper_pearson_upper(errors, n, 0.975)


def test_at_0_and_1_a_standard_error_is_not_believed() -> None:
    """Nor where rounding made a little more than 1 of it."""
    lower = float(clopper_pearson_lower(50, 50, 0.975))
    for estimate, low, high in ((0.0, 0.0, 1 - lower), (1.0, lower, 1.0), (1 + 1e-15, lower, 1.0)):
        found = t_interval(estimate, 0.3, 50, scale="logit")
        assert (found.low, found.high) == pytest.approx((low, high))


def test_of_few_groups_few_events_are_worth_less() -> None:
    """Of 5 groups 97.5 % of Student's t is at 2.776, where the normal distribution's is at 1.96."""
    n = 0.1 * 0.9 / (0.055**2 * 5 / 4) * (1.959964 / 2.776445) ** 2
    found = t_interval(0.1, 0.055, 5, scale="logit")
    assert found.high == pytest.approx(float(clopper_pearson_upper(0.1 * n, n, 0.975)), rel=1e-5)


def test_few_events_are_bounded_exactly_by_as_many_rows_as_have_this_error() -> None:
    """Two errors in 300 rows, each a group: Clopper and Pearson's interval, a little wider for t and G / (G − 1)."""
    rate = 2 / 300
    found = t_interval(rate, math.sqrt(rate * (1 - rate) / 300), 300, scale="logit")
    assert found.low == pytest.approx(float(clopper_pearson_lower(2, 300, 0.975)), rel=0.02)
    assert found.high == pytest.approx(float(clopper_pearson_upper(2, 300, 0.975)), rel=0.02)
    assert found.low < clopper_pearson_lower(2, 300, 0.975) and found.high > clopper_pearson_upper(2, 300, 0.975)
    mirrored = t_interval(1 - rate, math.sqrt(rate * (1 - rate) / 300), 300, scale="logit")
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("events", "is_exact"), [(4.5, True), (5.5, False)])
def test_few_are_fewer_than_five(events: float, is_exact: bool) -> None:
    rate = events / 1000
    found = t_interval(rate, math.sqrt(rate * (1 - rate) / 1000), 10**6, scale="logit")
    assert (found.high == pytest.approx(float(clopper_pearson_upper(events, 1000, 0.975)), rel=1e-4)) == is_exact


@given(st.floats(0, 1), st.floats(0, 2), st.integers(2, 10**5))
def test_shares_stay_between_0_and_1_and_estimates_within_their_interval(estimate: float, se: float, n: int) -> None:
    found = t_interval(estimate, se, n, scale="logit")
    assert 0 <= found.low <= estimate + 1e-6 and estimate - 1e-6 <= found.high <= 1


@pytest.mark.parametrize(
    ("estimate", "se", "n"), [(0.5, 0.1, 1), (math.nan, 0.1, 9), (0.5, math.nan, 9), (0.5, 0.1, 0)]
)
def test_of_one_group_or_an_unknown_figure_nothing_is_said(estimate: float, se: float, n: int) -> None:
    found = t_interval(estimate, se, n, scale="logit")
    assert math.isnan(found.low) and math.isnan(found.high)
    told = found.to_dict()
    assert told["low"] is None and told["high"] is None and told["n_groups"] == n
    assert told["estimate"] == (None if math.isnan(estimate) else estimate) and told["level"] == 0.95
    json.dumps(told, allow_nan=False)
    assert difference_p_value(estimate, se, n) == 1


def test_an_interval_is_bound_by_the_resamples_after_the_rows_as_they_are() -> None:
    values = np.append(0.3, np.random.default_rng(0).normal(0.9, 0.02, 2000))
    found = bound(values, 10, level=0.9)
    assert found == t_interval(0.3, float(values[1:].std(ddof=1)), 10, level=0.9)
    assert found.high < bound(values, 10).high
    assert bound(values, 10, scale="logit").high != bound(values, 10).high


def test_the_interval_of_a_rate_is_that_of_resampled_groups() -> None:
    rng = np.random.default_rng(0)
    groups = 7 * rng.integers(0, 80, 600)
    hits = rng.random(600) < rng.beta(2, 5, 561)[groups]
    found = bound_rate(hits, groups)
    numbers = np.unique(groups, return_inverse=True)[1]
    counts = DecisionCounts.count(np.zeros(600, np.int64), hits.astype(np.int64), numbers, n_classes=2)
    resampled = resample(
        lambda weights: {"rate": false_positive_rate(counts.confusion(weights))}, found.n_groups, n_resamples=4000
    )
    slow = bound(resampled["rate"], found.n_groups, scale="logit")
    assert (found.estimate, found.n_groups) == (slow.estimate, slow.n_groups) == (hits.mean(), len(np.unique(groups)))
    assert (found.low, found.high) == pytest.approx((slow.low, slow.high), rel=0.01)
    assert bound_rate(hits, groups, level=0.9).low > found.low


def test_the_interval_of_independent_rows_is_that_of_a_share() -> None:
    hits = np.arange(100) < 30
    found, known = bound_rate(hits, np.arange(100)), t_interval(0.3, math.sqrt(0.3 * 0.7 / 100), 100, scale="logit")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    never = bound_rate(np.zeros(50, bool), np.arange(50))
    assert (never.low, never.high) == (0, float(clopper_pearson_upper(0, 50, 0.975)))


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.integers(2, 1000))
def test_a_p_value_is_below_5_percent_where_the_interval_excludes_0(estimate: float, se: float, n: int) -> None:
    p = difference_p_value(estimate, se, n)
    if abs(p - 0.05) > 1e-9:
        found = t_interval(estimate, se, n)
        assert (p < 0.05) == (found.low > 0 or found.high < 0)
    assert difference_p_value(-estimate, se, n) == p


@pytest.mark.parametrize(
    ("t", "n_groups", "p"), [(T_9, 10, 0.05), (1.0, 2, 0.5), (7.0, 2, 1 - 2 * math.atan(7) / math.pi)]
)
def test_a_p_value_is_that_of_students_t(t: float, n_groups: int, p: float) -> None:
    """With one degree of freedom, of two groups, that is Cauchy's distribution."""
    estimate = t * 0.02 * math.sqrt(n_groups / (n_groups - 1))
    assert difference_p_value(estimate, 0.02, n_groups) == pytest.approx(p, abs=1e-10)


def test_equal_heads_differ_by_chance_and_a_difference_without_spread_by_its_groups() -> None:
    assert difference_p_value(0.0, 0.0, 10) == 1
    assert difference_p_value(0.1, 0.0, 10) == 2**-9


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_step_by_step_would_be_rejected(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected: set[int] = set()
        for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[place] * (len(p_values) - step) > level:
                break
            rejected.add(place)
        assert {k for k, p in enumerate(adjusted) if p <= level} == rejected
    assert (adjusted >= p_values).all() and (adjusted <= 1).all()


def test_an_interval_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Interval(0, -1, 1, 0.95, 10).low = 0  # type: ignore[misc]


def test_of_a_figure_near_zero_of_which_little_is_known_the_upper_end_stays_a_number() -> None:
    found = t_interval(1e-6, 0.1, 20, scale="log")
    assert found.low == 0 and found.high == pytest.approx(t_interval(1e-6, 0.1, 20).high) and found.high < 1


def test_resamples_that_agree_are_as_many_signs() -> None:
    assert difference_p_value(-1.0, 0.0, 8) == 2**-7
    assert math.isnan(t_interval(-1.0, 0.0, 8).low)
    assert (t_interval(0.0, 0.0, 8).low, t_interval(0.0, 0.0, 8).high) == (0, 0)
