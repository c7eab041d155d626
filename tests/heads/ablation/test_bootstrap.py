"""Laws of the bootstrap: the scores are those of training, pairs cancel, groups count as one."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.ablation.bootstrap import GroupCounts, count_groups, decide, resample_scores
from heads.data.tasks import Targets, build_targets, default_tasks
from heads.head.protocol import Prediction
from heads.head.task_scores import selection_score
from heads.statistics.intervals import Interval, bound
from heads.statistics.resampling import draw_weights

TASKS = default_tasks(["x", "y", "z"])


def make_rows(rng: np.random.Generator, n: int, skill: float) -> tuple[Prediction, Targets]:
    truth = rng.integers(0, 4, n)
    targets = build_targets(TASKS, {"a": (truth > 0).astype(np.int64), "b": truth - 1})
    noise = rng.random((n, 4)).astype(np.float32)
    noise[np.arange(n), truth] += skill
    b = noise[:, 1:] / noise[:, 1:].sum(axis=1, keepdims=True)
    return Prediction({"a": np.clip(1 - noise[:, 0] / 2, 0, 1), "b": b}), targets


def counts_of(prediction: Prediction, targets: Targets, groups: np.ndarray) -> GroupCounts:
    return count_groups(decide(prediction, TASKS), targets, tasks=TASKS, groups=groups)


@given(st.integers(0, 2**31), st.integers(1, 60))
@settings(max_examples=50)
def test_weights_of_one_give_the_selection_score(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, targets = make_rows(rng, n, 0.4)
    groups = rng.integers(0, 5, n)
    counts = counts_of(prediction, targets, groups)
    (score,) = counts.scores(np.ones((1, int(groups.max()) + 1)))
    assert score == pytest.approx(selection_score(prediction, targets, TASKS))


def test_a_probability_of_one_half_is_ai_as_in_the_selection_score() -> None:
    targets = build_targets(TASKS, {"a": np.array([0, 1, 1]), "b": np.array([-1, 0, 2])})
    prediction = Prediction({"a": np.array([0.5, 0.5, 0.4]), "b": np.eye(3)})
    assert decide(prediction, TASKS)["a"].tolist() == [1, 1, 0]
    (score,) = counts_of(prediction, targets, np.arange(3)).scores(np.ones((1, 3)))
    assert score == selection_score(prediction, targets, TASKS)


def test_a_task_without_rows_under_a_weighting_is_unknown_and_left_out_of_the_score() -> None:
    targets = build_targets(TASKS, {"a": np.array([0, 1, 1]), "b": np.array([-1, -1, 2])})
    counts = counts_of(make_rows(np.random.default_rng(0), 3, 0.4)[0], targets, np.arange(3))
    weights = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = counts.task_scores(weights)
    assert np.isnan(found["b"]).all() and np.isfinite(found["a"][0])
    assert counts.scores(weights)[0] == found["a"][0] and np.isnan(counts.scores(weights)[1])


def test_chance_is_one_in_as_many_classes_as_occur_in_tasks_that_have_rows() -> None:
    prediction = make_rows(np.random.default_rng(0), 4, 0.4)[0]

    def chance(a: list[int], b: list[int]) -> float:
        targets = build_targets(TASKS, {"a": np.array(a), "b": np.array(b)})
        return counts_of(prediction, targets, np.array([0, 1, 1, 2])).chance

    assert chance([0, 1, 1, 1], [-1, 0, 1, 2]) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert chance([1, 1, 1, 1], [0, 0, 2, 2]) == pytest.approx((1 + 1 / 2) / 2)
    assert chance([0, 0, 1, 1], [-1, -1, -1, -1]) == 1 / 2


def test_groups_are_counted_even_if_a_task_has_no_rows_in_the_last_ones() -> None:
    targets = build_targets(TASKS, {"a": np.array([1, -1, -1]), "b": np.array([0, -1, -1])})
    counts = counts_of(make_rows(np.random.default_rng(0), 3, 0.4)[0], targets, np.arange(3))
    assert counts.n_groups == 3
    found = {name: part.confusion(np.ones((1, 3))).shape for name, part in counts.by_task.items()}
    assert found == {"a": (1, 2, 2), "b": (1, 3, 3)}


@pytest.mark.parametrize(
    ("a", "b", "n_independent"),
    [
        ([0, 0, 0, 1, 1, 1], [-1, -1, -1, 0, 1, 2], 2),
        ([0, 0, 1, 1, 1, 1], [-1, -1, 0, -1, -1, -1], 1),
        ([0] * 6, [-1] * 6, 4),
    ],
)
def test_a_score_rests_on_the_groups_of_what_has_fewest(a: list[int], b: list[int], n_independent: int) -> None:
    targets = build_targets(TASKS, {"a": np.array(a), "b": np.array(b)})
    prediction = make_rows(np.random.default_rng(0), 6, 0.4)[0]
    assert counts_of(prediction, targets, np.array([0, 1, 2, 2, 2, 3])).n_independent == n_independent


def test_a_group_of_weight_two_counts_as_if_its_rows_were_there_twice() -> None:
    rng = np.random.default_rng(0)
    prediction, targets = make_rows(rng, 40, 0.4)
    groups = np.repeat(np.arange(10), 4)
    weights = rng.integers(0, 3, (1, 10)).astype(np.float64)
    rows = np.repeat(np.arange(40), weights[0].astype(int)[groups])
    drawn = Prediction({name: value[rows] for name, value in prediction.proba.items()})
    (score,) = counts_of(prediction, targets, groups).scores(weights)
    assert score == pytest.approx(selection_score(drawn, targets.select(rows), TASKS))


def test_rows_to_which_a_task_does_not_apply_change_nothing() -> None:
    rng = np.random.default_rng(1)
    prediction, targets = make_rows(rng, 30, 0.4)
    groups = np.arange(30) // 3
    decisions = decide(prediction, TASKS)
    before = count_groups(decisions, targets, tasks=TASKS, groups=groups)
    garbage = {**decisions, "b": np.where(targets.applies["b"], decisions["b"], 999)}
    after = count_groups(garbage, targets, tasks=TASKS, groups=groups)
    once = np.eye(10)
    for name in ("a", "b"):
        assert (before.by_task[name].confusion(once) == after.by_task[name].confusion(once)).all()


def difference(ours: list[GroupCounts], theirs: list[GroupCounts], *, weights: np.ndarray) -> Interval:
    return bound(resample_scores(ours, weights) - resample_scores(theirs, weights), weights.shape[1])


def test_a_head_does_not_differ_from_itself() -> None:
    prediction, targets = make_rows(np.random.default_rng(2), 60, 0.3)
    counts = counts_of(prediction, targets, np.arange(60) // 6)
    found = difference([counts], [counts], weights=draw_weights(10))
    assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_the_difference_turns_its_sign_with_the_sides() -> None:
    rng = np.random.default_rng(3)
    good, targets = make_rows(rng, 120, 0.9)
    bad = Prediction({name: rng.permutation(value) for name, value in good.proba.items()})
    groups = np.arange(120) // 6
    sides = [[counts_of(p, targets, groups)] for p in (good, bad)]
    weights = draw_weights(20)
    forth, back = (difference(a, b, weights=weights) for a, b in (sides, sides[::-1]))
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.low > 0
    assert back.high < 0


def test_seeds_are_averaged_within_each_resample_after_the_rows_as_they_are() -> None:
    rng = np.random.default_rng(7)
    good, targets = make_rows(rng, 40, 0.9)
    bad = Prediction({name: rng.permutation(value) for name, value in good.proba.items()})
    seeds = [counts_of(p, targets, np.arange(40) // 4) for p in (good, bad)]
    weights = draw_weights(10, n_resamples=3)
    found = resample_scores(seeds, weights)
    for value, weighting in zip(found, [np.ones(10), *weights], strict=True):
        assert value == pytest.approx(np.mean([counts.scores(weighting[None])[0] for counts in seeds]))


def test_what_was_found_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        GroupCounts({}, {}, 1).n_groups = 2  # type: ignore[misc]


def test_ignoring_the_groups_would_claim_too_much() -> None:
    """Rows of a group that are all alike are worth one row: the interval must be as wide as with one a group."""
    rng = np.random.default_rng(6)
    (a,) = default_tasks([])
    y = np.tile([0, 1], 50)
    targets = build_targets((a,), {"a": y})
    decisions = {"a": np.where(rng.random(100) < 0.3, 1 - y, y)}
    perfect = {"a": y}
    groups = np.arange(100)
    many = np.repeat(np.arange(100), 20)
    intervals = []
    for rows, group in ((groups, groups), (many, many)):
        sides = [
            [count_groups({"a": d["a"][rows]}, targets.select(rows), tasks=(a,), groups=group)]
            for d in (decisions, perfect)
        ]
        intervals.append(difference(*sides, weights=draw_weights(100)))
    assert intervals[0].low == pytest.approx(intervals[1].low)
    assert intervals[0].high == pytest.approx(intervals[1].high)
