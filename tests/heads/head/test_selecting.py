"""Laws of the choice of fitted states: log loss, or macro F1, over all views that a head learns from."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from heads.data.row_source import ArrayRows
from heads.data.tasks import build_targets, default_tasks
from heads.errors import HeadsError
from heads.head.protocol import Prediction
from heads.head.selecting import choose_criterion, joint_merit, task_merit
from heads.head.task_scores import log_loss, selection_score
from tests.heads.rows import TASKS, make_head, make_rows

ALONE = default_tasks(["only"])


def test_at_one_in_a_thousand_an_epoch_is_chosen_by_ranks_not_by_the_luck_of_a_threshold() -> None:
    y = (np.arange(3003) % 1001 == 0).astype(np.int64)
    targets, noise = build_targets(ALONE, {"a": y}), np.random.default_rng(0).random(3003)
    lucky = np.where(np.arange(3003) == 0, 0.6, noise / 2)  # one AI row is past the threshold, all else is chance
    ranked = (noise + y) / 4  # none is, and AI rows come first
    flat = noise / 4
    of_lucky, of_ranked, of_flat = (Prediction({"a": p.astype(np.float32)}) for p in (lucky, ranked, flat))
    scores = [selection_score(each, targets, ALONE) for each in (of_lucky, of_ranked, of_flat)]
    assert scores[0] > scores[1] == scores[2] == 0.5
    merits = [joint_merit(each, targets, ALONE) for each in (of_ranked, of_lucky, of_flat)]
    assert merits == sorted(merits, reverse=True) and merits[0] == pytest.approx(1, abs=0.01)
    losses = [log_loss(ALONE[0], y, each.proba["a"]) for each in (of_ranked, of_lucky, of_flat)]
    assert losses[0] == min(losses), "and a strength by log loss, which tells them apart too"


def test_a_is_chosen_by_log_loss_and_b_by_macro_f1_until_views_are_trained_on() -> None:
    a, b = TASKS
    assert [choose_criterion(task, n_views=n) for task in (a, b) for n in (1, 3)] == [
        *("log_loss", "log_loss"),
        *("macro_f1", "log_loss"),
    ]
    surer, righter = {"score": 0.6, "select_loss": 0.4}, {"score": 0.7, "select_loss": 0.5}
    for task, n_views, best in ((a, 1, surer), (a, 3, surer), (b, 1, righter), (b, 3, surer)):
        other = righter if best is surer else surer
        assert task_merit(task, n_views=n_views, **best) > task_merit(task, n_views=n_views, **other)
    assert task_merit(b, n_views=1, score=0.6, select_loss=0.4) > task_merit(b, n_views=1, score=0.6, select_loss=0.5)


def test_the_merit_of_all_tasks_is_the_sum_over_those_with_rows() -> None:
    rng = np.random.default_rng(0)
    y_a, y_b = rng.integers(-1, 2, 90), rng.integers(-1, 3, 90)
    targets = build_targets(TASKS, {"a": y_a, "b": y_b})
    prediction = Prediction(
        {"a": rng.random(90).astype(np.float32), "b": rng.dirichlet(np.ones(3), 90).astype(np.float32)}
    )
    a, b = targets.applies["a"], targets.applies["b"]
    area = reference.roc_auc_score(y_a[a], prediction.proba["a"][a])
    f1 = reference.f1_score(y_b[b], prediction.proba["b"][b].argmax(axis=1), average="macro")
    assert joint_merit(prediction, targets, TASKS) == pytest.approx(area + f1)
    of_a, of_b = (
        build_targets(TASKS, {"a": y_a, "b": np.full(90, -1)}),
        build_targets(TASKS, {"a": np.where(y_a == 1, 1, -1), "b": y_b}),
    )
    assert joint_merit(prediction, of_a, TASKS) == pytest.approx(area)
    assert joint_merit(prediction, of_b, TASKS) == pytest.approx(f1)
    none = build_targets(TASKS, {"a": np.full(90, -1), "b": np.full(90, -1)})
    with pytest.raises(HeadsError, match="none of the 90 select rows has a label"):
        joint_merit(prediction, none, TASKS)


def test_a_probability_that_float32_rounds_to_0_costs_as_much_as_float32_can_say() -> None:
    y = np.array([0, 1])
    assert log_loss(TASKS[0], y, np.array([1, 0], dtype=np.float32)) == pytest.approx(23 * np.log(2))
    assert log_loss(TASKS[1], y, np.array([[0, 1, 0], [1, 0, 0]], dtype=np.float32)) == pytest.approx(23 * np.log(2))


@pytest.mark.parametrize("kind", ["linear", "gbdt", "mlp"])
def test_select_rows_choose_in_all_views_of_the_source(kind: str) -> None:
    # In the second view the select rows are those of others: only who looks there sees a larger loss.
    X, targets = make_rows(450, seed=1)
    shown, hidden = np.stack([X, X]), np.stack([X, X])
    hidden[1, 300:] = X[np.random.default_rng(0).permutation(np.arange(300, 450))]
    losses = []
    for matrix in (shown, hidden):
        head = make_head(kind).fit_rows(ArrayRows(matrix), targets, np.arange(300), np.arange(300, 450))
        losses.append(min(record["select_loss"] for record in head.history_))
    assert losses[1] > losses[0] + 0.2
