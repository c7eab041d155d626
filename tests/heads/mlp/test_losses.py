"""Laws of the losses: their formulas, their gradients, and the rows that must not matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heads.data.tasks import Task, default_tasks
from heads.mlp.losses import OBJECTIVES, contrastive_loss, joint_loss, multitask_loss, paper_loss

K = 3
TASKS = default_tasks(["x", "y", "z"])
masks = st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, K - 1)), min_size=1, max_size=12)
SEEDS = range(6)


def draw(n: int, seed: int, *, spare: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, generator=g, dtype=torch.float64) * 3
    b = torch.randn(n, K + spare, generator=g, dtype=torch.float64) * 3
    return {"a": a.requires_grad_(), "b": b.requires_grad_()}


def draw_rows(n: int, seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return list(zip(rng.integers(-1, 2, n).tolist(), rng.integers(-1, K, n).tolist(), strict=True))


def mark(rows: list[tuple[int, int]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return targets and the masks of the rows to which they apply."""
    a, b = (torch.tensor(column) for column in zip(*rows, strict=True))
    return {"a": a, "b": b}, {"a": a >= 0, "b": (a == 1) & (b >= 0)}


def bce(z: float, y: int) -> float:
    return float(np.logaddexp(0, -z if y else z))


def cross_entropy(z: np.ndarray, k: int) -> float:
    return float(np.logaddexp.reduce(z) - z[k])


def mean(values: list[float], weights: list[float]) -> float:
    return float(np.mean(np.multiply(values, weights))) if values else 0.0


def by_task(w: Tensor | None) -> dict[str, Tensor] | None:
    """Weigh rows differently in the two tasks: by ``w``, and by its square."""
    return None if w is None else {"a": w, "b": w**2}


def expected_sum(
    logits: Mapping[str, Tensor], rows: list[tuple[int, int]], *, offset: int, weight: float, w: np.ndarray
) -> float:
    """Work out the loss with weights ``w`` of rows in A, and their squares in B."""
    za, zb = logits["a"].detach().numpy(), logits["b"].detach().numpy()
    in_a = [i for i, (a, _) in enumerate(rows) if a >= 0]
    in_b = [i for i, (a, b) in enumerate(rows) if a == 1 and b >= 0]
    term_a = mean([bce(za[i], rows[i][0]) for i in in_a], [w[i] for i in in_a])
    term_b = mean([cross_entropy(zb[i], rows[i][1] + offset) for i in in_b], [w[i] ** 2 for i in in_b])
    return term_a + weight * term_b


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("loss", "offset"), [(multitask_loss, 0), (paper_loss, 1)])
def test_multitask_and_paper_are_their_formula(loss: Any, offset: int, seed: int) -> None:
    rows, logits = draw_rows(20, seed), draw(20, seed, spare=offset)
    y, applies = mark(rows)
    found = loss(logits, y, tasks=TASKS, applies=applies, weight=0.7)
    expected = expected_sum(logits, rows, offset=offset, weight=0.7, w=np.ones(20))
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("loss", "offset"), [(multitask_loss, 0), (paper_loss, 1)])
def test_row_weights_multiply_the_losses_of_their_task(loss: Any, offset: int, seed: int) -> None:
    rows, logits = draw_rows(20, seed), draw(20, seed, spare=offset)
    w = np.random.default_rng(seed).random(20).round(1)
    y, applies = mark(rows)
    found = loss(logits, y, tasks=TASKS, applies=applies, row_weight=by_task(torch.from_numpy(w)))
    assert found.item() == pytest.approx(expected_sum(logits, rows, offset=offset, weight=1, w=w), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("weighted", [False, True])
def test_heads_side_by_side_are_trained_and_read_as_one_by_one(name: str, weighted: bool) -> None:
    objective, n = OBJECTIVES[name], 20
    y, applies = mark(draw_rows(n, 0))
    w = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) if weighted else None
    packs = [
        {
            key: torch.randn((n, size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).squeeze(1)
            for key, size in objective.outputs(TASKS).items()
        }
        for seed in range(3)
    ]
    together = {key: torch.stack([pack[key] for pack in packs]) for key in packs[0]}

    def loss(logits: dict[str, Tensor]) -> Tensor:
        return objective.loss(logits, y, tasks=TASKS, applies=applies, row_weight=by_task(w))

    torch.testing.assert_close(loss(together), torch.stack([loss(pack) for pack in packs]))
    read = [objective.proba(pack, TASKS) for pack in packs]
    for task, proba in objective.proba(together, TASKS).items():
        torch.testing.assert_close(proba, torch.stack([one[task] for one in read]))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_weights_are_not_divided_by_their_sum(name: str) -> None:
    objective, n = OBJECTIVES[name], 20
    y, applies = mark(draw_rows(n, 0))
    g = torch.Generator().manual_seed(0)
    logits = {
        key: torch.randn((n, size), generator=g, dtype=torch.float64).squeeze(1)
        for key, size in objective.outputs(TASKS).items()
    }
    two = torch.full((n,), 2.0, dtype=torch.float64)
    weights = {"a": two, "b": torch.ones_like(two) if name == "joint" else two}  # joint: a row weighs the product
    plain = objective.loss(logits, y, tasks=TASKS, applies=applies)
    torch.testing.assert_close(objective.loss(logits, y, tasks=TASKS, applies=applies, row_weight=weights), 2 * plain)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_gradient_of_multitask_is_probability_less_target_over_the_rows(seed: int) -> None:
    rows, logits = draw_rows(20, seed), draw(20, seed)
    y, applies = mark(rows)
    multitask_loss(logits, y, tasks=TASKS, applies=applies, weight=0.7).backward()
    za, zb = logits["a"].detach().numpy(), logits["b"].detach().numpy()
    expected_a, expected_b = np.zeros(20), np.zeros((20, K))
    for i, (a, b) in enumerate(rows):
        if a >= 0:
            expected_a[i] = (1 / (1 + np.exp(-za[i])) - a) / int(applies["a"].sum())
        if a == 1 and b >= 0:
            expected_b[i] = 0.7 * (np.exp(zb[i]) / np.exp(zb[i]).sum() - np.eye(K)[b]) / int(applies["b"].sum())
    np.testing.assert_allclose(logits["a"].grad, expected_a, atol=1e-14)
    np.testing.assert_allclose(logits["b"].grad, expected_b, atol=1e-14)


def joint(z: Tensor, rows: list[tuple[int, int]], w: Tensor | None = None) -> Tensor:
    y, _ = mark(rows)
    return joint_loss(z, y["a"], y["b"], known_ai=y["a"] >= 0, known_generator=y["b"] >= 0, row_weight=w)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_joint_is_its_formula_and_marginalises_unknown_generators(seed: int, weighted: bool) -> None:
    rows, z = draw_rows(20, seed), draw(20, seed, spare=1)["b"]
    w = np.random.default_rng(seed).random(20) if weighted else np.ones(20)
    values, weights = [], []
    for i, (a, b) in enumerate(rows):
        zi = z[i].detach().numpy()
        log_p = zi - np.logaddexp.reduce(zi)
        if a >= 0:
            unnamed = -np.logaddexp.reduce(log_p[1:])
            values.append(-log_p[0] if a == 0 else unnamed if b < 0 else -log_p[1 + b])
            weights.append(w[i])
    found = joint(z, rows, torch.from_numpy(w) if weighted else None)
    assert found.item() == pytest.approx(mean(values, weights), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_joint_objective_is_the_joint_loss_of_both_tasks(seed: int, weighted: bool) -> None:
    rows, z = draw_rows(20, seed), draw(20, seed, spare=1)["b"]
    y, applies = mark(rows)
    w = torch.from_numpy(np.random.default_rng(seed).random(20)) if weighted else None
    for weight in (0.5, 1.0):  # there is one term, and no weight between two
        of_tasks = by_task(w)
        found = OBJECTIVES["joint"].loss(
            {"joint": z}, y, tasks=TASKS, applies=applies, weight=weight, row_weight=of_tasks
        )
        assert found.item() == joint(z, rows, None if w is None else w * w**2).item()


def test_gradients_are_those_of_finite_differences() -> None:
    rows, seed = [(0, -1), (1, 2), (1, -1), (-1, 0), (1, 0)], 0
    y, applies = mark(rows)
    w = torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for loss, spare in ((multitask_loss, 0), (paper_loss, 1)):
        logits = draw(5, seed, spare=spare)

        def of(a: Tensor, b: Tensor, loss: Any = loss) -> Tensor:
            own = by_task(w)
            value: Tensor = loss({"a": a, "b": b}, y, tasks=TASKS, applies=applies, weight=0.5, row_weight=own)
            return value

        assert torch.autograd.gradcheck(of, (logits["a"], logits["b"]))
    assert torch.autograd.gradcheck(lambda z: joint(z, rows, w), (draw(5, seed, spare=1)["b"],))


@settings(max_examples=40)
@given(masks, st.sampled_from(list(OBJECTIVES)), st.sampled_from([float("nan"), float("inf"), -1.0, 99.0]))
def test_targets_outside_a_task_change_nothing(rows: list[tuple[int, int]], name: str, garbage: float) -> None:
    n, objective = len(rows), OBJECTIVES[name]
    y, applies = mark(rows)
    spoilt = {task: torch.where(applies[task], y[task].double(), garbage) for task in y}
    results = []
    for targets in (y, spoilt):
        sizes = objective.outputs(TASKS)
        g = torch.Generator().manual_seed(n)
        logits = {key: torch.randn((n, size), generator=g).squeeze(1).requires_grad_() for key, size in sizes.items()}
        value = objective.loss(logits, targets, tasks=TASKS, applies=applies)
        value.backward()
        results.append([value.detach(), *(z.grad for z in logits.values())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other) and one.isfinite().all()


@settings(max_examples=40)
@given(masks, st.sampled_from(list(OBJECTIVES)))
def test_logits_outside_a_task_get_no_gradient_even_if_they_are_nan(rows: list[tuple[int, int]], name: str) -> None:
    n, objective = len(rows), OBJECTIVES[name]
    y, applies = mark(rows)
    outside = {"a": ~applies["a"], "b": ~applies["b"], "joint": ~applies["a"]}
    sizes = objective.outputs(TASKS)
    logits = {key: torch.randn(n, size).squeeze(1) for key, size in sizes.items()}
    for key, z in logits.items():
        z[outside[key]] = float("nan")
        z.requires_grad_()
    objective.loss(logits, y, tasks=TASKS, applies=applies).backward()
    for key, z in logits.items():
        assert z.grad is not None and z.grad.isfinite().all()
        assert not z.grad[outside[key]].any()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("weighted", [False, True])
def test_no_rows_cost_exactly_nothing_and_stay_in_the_graph(name: str, weighted: bool) -> None:
    objective = OBJECTIVES[name]
    y, applies = mark([(-1, -1), (-1, 2)])
    logits = {key: torch.randn(2, size).squeeze(1).requires_grad_() for key, size in objective.outputs(TASKS).items()}
    w = torch.zeros(2) if weighted else None
    loss = objective.loss(logits, y, tasks=TASKS, applies=applies, row_weight=by_task(w))
    assert loss.item() == 0
    loss.backward()
    assert all(z.grad is not None and not z.grad.any() for z in logits.values())


def test_rows_of_weight_zero_cost_nothing() -> None:
    y, applies = mark([(1, 0), (0, -1)])
    logits = draw(2, 0)
    zeros = by_task(torch.zeros(2, dtype=torch.float64))
    loss = multitask_loss(logits, y, tasks=TASKS, applies=applies, row_weight=zeros)
    loss.backward()
    assert loss.item() == 0 and logits["a"].grad is not None and not logits["a"].grad.any()


def test_a_batch_without_ai_rows_trains_a_alone() -> None:
    y, applies = mark([(0, -1), (0, -1)])
    logits = draw(2, 0)
    multitask_loss(logits, y, tasks=TASKS, applies=applies).backward()
    assert logits["a"].grad is not None and logits["a"].grad.all()
    assert logits["b"].grad is not None and not logits["b"].grad.any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_probabilities_are_the_textbook_ones_and_stable(seed: int, scale: float) -> None:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(30, K + 1, generator=g, dtype=torch.float64) * scale
    p = z.softmax(1)
    found = OBJECTIVES["joint"].proba({"joint": z.float()}, TASKS)
    conditional = p[:, 1:] / p[:, 1:].sum(1, keepdim=True)
    torch.testing.assert_close(found["a"].double(), p[:, 1:].sum(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["b"].double(), conditional, atol=1e-5, rtol=1e-4)
    paper = OBJECTIVES["paper"].proba({"a": z[:, 0], "b": z}, TASKS)
    torch.testing.assert_close(paper["a"], z[:, 0].sigmoid())
    torch.testing.assert_close(paper["b"], conditional)


def test_probabilities_survive_extreme_logits() -> None:
    z = torch.tensor([[1e4, 0.0, 1.0, 2.0], [-1e4, 0.0, 1.0, 2.0]])
    found = OBJECTIVES["joint"].proba({"joint": z}, TASKS)
    assert found["a"].tolist() == [0, 1]
    torch.testing.assert_close(found["b"][0], torch.tensor([0.0, 1.0, 2.0]).softmax(0))


def test_task_a_alone_has_one_output_or_two_joint_ones() -> None:
    tasks = default_tasks([])
    assert OBJECTIVES["multitask"].outputs(tasks) == OBJECTIVES["paper"].outputs(tasks) == {"a": 1}
    assert OBJECTIVES["joint"].outputs(tasks) == {"joint": 2}
    assert OBJECTIVES["paper"].outputs(TASKS) == {"a": 1, "b": K + 1}
    y, known = torch.tensor([0, 1, -1, 1]), torch.tensor([True, True, False, True])
    z = torch.randn(4, 2, dtype=torch.float64)
    found = OBJECTIVES["joint"].loss({"joint": z}, {"a": y}, tasks=tasks, applies={"a": known})
    expected = multitask_loss({"a": z[:, 1] - z[:, 0]}, {"a": y}, tasks=tasks, applies={"a": known})
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        OBJECTIVES["joint"].proba({"joint": z}, tasks), {"a": (z[:, 1] - z[:, 0]).sigmoid()}, atol=1e-12, rtol=0
    )


def test_only_a_conditional_task_of_many_classes_has_a_spare_logit() -> None:
    tasks = (
        Task("a", "binary", ("real", "ai")),
        Task("many", "multiclass", ("x", "y", "z")),
        Task("two", "binary", ("x", "y"), parent="a", parent_class="ai"),
        Task("which", "multiclass", ("x", "y", "z"), parent="a", parent_class="ai"),
    )
    assert OBJECTIVES["paper"].outputs(tasks) == {"a": 1, "many": 3, "two": 1, "which": 4}
    assert OBJECTIVES["multitask"].outputs(tasks) == {"a": 1, "many": 3, "two": 1, "which": 3}


def test_an_objective_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        OBJECTIVES["joint"].loss = multitask_loss  # type: ignore[misc]


def test_the_contrastive_loss_is_its_formula_and_of_each_head() -> None:
    rows = [(0, -1), (1, 0), (1, 0), (0, -1), (1, 2), (1, -1), (0, -1), (1, 0)]
    y, applies = mark(rows)
    hidden = torch.randn((2, len(rows), 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = []
    for units in hidden:
        z = units / units.norm(dim=1, keepdim=True)
        losses = []
        for i, row in enumerate(rows):
            like = [p for p in range(len(rows)) if p != i and rows[p] == row]
            total = sum(torch.exp(z[i] @ z[k] / 0.07) for k in range(len(rows)) if k != i)
            shares = [-torch.log(torch.exp(z[i] @ z[p] / 0.07) / total) for p in like]
            losses += [torch.stack(shares).mean()] if like else []
        expected.append(torch.stack(losses).mean())
    torch.testing.assert_close(contrastive_loss(hidden, y, applies=applies), torch.stack(expected))


def test_the_contrastive_loss_of_units_that_are_all_off_or_of_no_two_alike_has_a_finite_gradient() -> None:
    for rows, hidden in (([(0, -1), (0, -1), (1, 0)], torch.zeros(3, 4)), ([(0, -1), (1, 0)], torch.ones(2, 4))):
        hidden.requires_grad_()
        y, applies = mark(rows)
        loss = contrastive_loss(hidden, y, applies=applies)
        assert torch.autograd.grad(loss, hidden)[0].isfinite().all() and loss.isfinite()
