"""Laws of the effect size: 0.5 for rows alike, 1 for others; neither a share of AI nor a group is a difference."""

from __future__ import annotations

import numpy as np
import pytest

from heads.verdicts.effect_size import SET, EffectSize, measure_effect

APART = np.array([2.0, *[0.0] * 19])  # by how much AI rows differ from real ones


def measure(n_ai: int, *, share: float, shift: float = 0.0, n: int = 200) -> EffectSize:
    """Measure ``n`` rows, some of them AI, beside 100 real and 100 AI ones; each row is a group."""
    rng = np.random.default_rng(n_ai)
    side = np.repeat([0, 1, SET], [100, 100, n])
    is_ai = np.concatenate([side[:200] == 1, np.arange(n) < n_ai])
    X = rng.normal(size=(len(side), 20)) + np.where(is_ai[:, None], APART, 0)
    X[side == SET, 3] += shift
    found = measure_effect((X * 30 + 100).astype(np.float32), side, np.arange(len(side)), share=share)
    assert found is not None
    return found


@pytest.mark.parametrize(("n_ai", "share"), [(100, 0.5), (180, 0.9), (0, 0.0)])
def test_rows_alike_are_not_told_apart_whatever_their_share_of_ai(n_ai: int, share: float) -> None:
    found = measure(n_ai, share=share)
    assert found.auc.low < 0.5 < found.auc.high and abs(found.auc.estimate - 0.5) < 0.1
    assert (found.n, found.n_known, found.share) == (200, 200 if share else 100, share)


def test_another_share_than_the_one_it_is_taken_to_have_would_be_a_difference() -> None:
    assert measure(180, share=0.5).auc.low > 0.55


def test_rows_that_differ_are_told_apart_by_how_much_they_do() -> None:
    near, far = measure(100, share=0.5, shift=1.0).auc, measure(100, share=0.5, shift=4.0).auc
    assert near.low > 0.5 and near.high < far.low and far.estimate > 0.98
    assert measure(100, share=0.5, shift=1.0).to_dict()["auc"]["estimate"] == near.estimate


@pytest.mark.parametrize(("n", "n_known"), [(30, 300), (300, 30)])
def test_few_rows_beside_many_are_told_apart_as_well(n: int, n_known: int) -> None:
    side = np.repeat([SET, 0], [n, n_known])
    X = np.random.default_rng(2).normal(size=(330, 200)).astype(np.float32)
    X[side == SET] += 3 / 200**0.5
    found = measure_effect(X, side, np.arange(330), share=0.0)
    assert found is not None and found.auc.estimate > 0.85


def test_what_a_group_has_in_common_tells_nothing_of_the_set() -> None:
    rng = np.random.default_rng(1)
    side = np.repeat([0, SET], 150)
    groups = np.repeat(np.arange(30), 10)
    X = (4 * rng.normal(size=(30, 40))[groups] + rng.normal(size=(300, 40))).astype(np.float32)
    whole, single = (measure_effect(X, side, each, share=0.0) for each in (groups, np.arange(300)))
    assert whole is not None and single is not None
    assert single.auc.estimate > 0.9 and whole.auc.low < 0.5 and whole.auc.n_groups == 15


def test_of_one_group_nothing_is_said() -> None:
    X, side = np.ones((20, 3), np.float32), np.repeat([0, SET], 10)
    assert measure_effect(X, side, np.repeat([0, 1], 10), share=0.0) is None
    assert measure_effect(X, side, np.arange(20), share=0.0) is not None
    assert measure_effect(X, side, np.arange(20), share=0.5) is None
    assert measure_effect(X, np.full(20, SET), np.arange(20), share=0.0) is None
