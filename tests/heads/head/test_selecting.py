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
from heads.head.task_scores import log_loss
from tests.heads.rows import TASKS, Rows, make_head, make_rows

ALONE = default_tasks(["only"])


def rare_rows(seed: int) -> Rows:
    """Draw 3,003 rows of 30 columns, one in a thousand of them AI."""
    y = (np.arange(3003) % 1001 == 0).astype(np.int64)
    X = np.random.default_rng(seed).normal(size=(3003, 30))
    X[:, 0] += 3 * y
    return X.astype(np.float32), build_targets(ALONE, {"a": y})


def test_at_one_in_a_thousand_an_epoch_is_not_chosen_for_the_luck_of_a_threshold() -> None:
    head = make_head("mlp", ALONE, epochs=30, patience=None, batch_size=1024).fit(*rare_rows(2), select=rare_rows(3))
    scores = [record["score"] for record in head.history_]
    assert np.argmax(scores) == 0 and len(set(scores[9:])) == 1, "the first epoch is lucky, then scores are flat"
    losses = [record["select_loss"] for record in head.history_]
    assert head.best_epoch_ == np.argmin(losses) + 1 > 20  # type: ignore[attr-defined]


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
    p_a, p_b = rng.uniform(0.01, 0.99, 90), rng.dirichlet(np.ones(3), 90)
    prediction = Prediction({"a": p_a.astype(np.float32), "b": p_b.astype(np.float32)})
    a, b = targets.applies["a"], targets.applies["b"]
    loss_a = reference.log_loss(y_a[a], p_a[a])
    f1 = reference.f1_score(y_b[b], p_b[b].argmax(axis=1), average="macro")
    assert joint_merit(prediction, targets, TASKS, n_views=1) == pytest.approx(f1 - loss_a, abs=1e-6)
    loss_b = reference.log_loss(y_b[b], p_b[b], labels=[0, 1, 2])
    assert joint_merit(prediction, targets, TASKS, n_views=2) == pytest.approx(-loss_a - loss_b, abs=1e-5)
    of_a = build_targets(TASKS, {"a": y_a, "b": np.full(90, -1)})
    assert joint_merit(prediction, of_a, TASKS, n_views=1) == pytest.approx(-loss_a, abs=1e-6)
    none = build_targets(TASKS, {"a": np.full(90, -1), "b": np.full(90, -1)})
    with pytest.raises(HeadsError, match="none of the 90 select rows has a label"):
        joint_merit(prediction, none, TASKS, n_views=1)


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
