"""What a neural head minimises: pure functions of logits and targets, and their way back to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from heads.data.tasks import Task

__all__ = ["OBJECTIVES", "Objective", "contrastive_loss", "joint_loss", "multitask_loss", "paper_loss"]

Tensors = Mapping[str, Tensor]
_TEMPERATURE = 0.07


def _mean(losses: Tensor, counts: Tensor, row_weight: Tensor | None) -> Tensor:
    """Average the losses (..., n), each times its weight, over the rows that ``counts``; of none it is 0.

    The losses of other rows must be finite.
    """
    kept = counts.to(losses.dtype)
    total = kept.sum()
    weights = kept if row_weight is None else torch.where(counts, row_weight, 0)
    return (losses * weights).sum(-1) / torch.where(total > 0, total, torch.ones_like(total))


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy (..., n) of logits (..., n, K) with classes (n,)."""
    index = target.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits.logsumexp(-1) - logits.gather(-1, index).squeeze(-1)


def _task_loss(logits: Tensor, task: Task, y: Tensor, *, applies: Tensor, row_weight: Tensor | None) -> Tensor:
    # Both sides are replaced before anything is computed: NaN times a zero mask would still be NaN in the gradient.
    y = torch.where(applies, y, 0)
    if task.kind == "binary":
        logits = torch.where(applies, logits, 0)
        targets = y.to(logits.dtype).expand(logits.shape)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    else:
        losses = _cross_entropy(torch.where(applies.unsqueeze(-1), logits, 0), y.long())
    return _mean(losses, applies, row_weight)


def multitask_loss(
    logits: Tensors,
    y: Tensors,
    *,
    tasks: Sequence[Task],
    applies: Tensors,
    weight: float = 1.0,
    row_weight: Tensors | None = None,
) -> Tensor:
    """Add up each task's mean loss over the rows to which it applies; conditional tasks ``weight`` times.

    For the tasks A and B: mean binary cross-entropy over the rows whose A is known, plus ``weight`` (λ) times
    the mean cross-entropy over the K generators of the AI rows whose B is known. A term without rows is
    exactly 0 and has a zero gradient.

    Parameters
    ----------
    logits : mapping of task name to float tensor
        ``(..., n)`` for a binary task, ``(..., n, K)`` for a multiclass one; the leading axes count heads.
    y : mapping of task name to tensor (n,)
        Class indices, integer or float. Rows to which the task does not apply may hold anything, NaN
        included.
    tasks : sequence of Task
    applies : mapping of task name to bool tensor (n,)
    weight : float
    row_weight : mapping of task name to float tensor (n,), optional
        By which each row's loss is multiplied in the mean; 1 on average over all rows of the task that are trained on.

    Returns
    -------
    float tensor (...)
        One loss a head; a scalar without leading axes.
    """
    terms = []
    for task in tasks:
        rows = applies[task.name]
        own = None if row_weight is None else row_weight[task.name]
        term = _task_loss(logits[task.name], task, y[task.name], applies=rows, row_weight=own)
        terms.append(term if task.parent is None else weight * term)
    return torch.stack(terms).sum(0)


def paper_loss(
    logits: Tensors,
    y: Tensors,
    *,
    tasks: Sequence[Task],
    applies: Tensors,
    weight: float = 1.0,
    row_weight: Tensors | None = None,
) -> Tensor:
    """Compute the loss as NAU-QMUL's published code has it: `multitask_loss` with a spare logit in task B.

    A conditional task has K + 1 logits, of which the first ("real") is never a target: cross-entropy over all
    K + 1, averaged over the AI rows whose class is known, 0 if there are none. ``y`` still counts from 0 over
    the K classes. The other parameters are those of `multitask_loss`.
    """
    shifted = {task.name: y[task.name] + _n_spare(task) for task in tasks}
    return multitask_loss(logits, shifted, tasks=tasks, applies=applies, weight=weight, row_weight=row_weight)


def joint_loss(
    logits: Tensor,
    is_ai: Tensor,
    generator: Tensor,
    *,
    known_ai: Tensor,
    known_generator: Tensor,
    row_weight: Tensor | None = None,
) -> Tensor:
    """Average the (K + 1)-way cross-entropy over the rows whose A is known.

    Class 0 is real, class 1 + k generator k. A row that is known to be AI, by an unknown generator, is not
    thrown away but marginalised over the generators: it contributes ``-log(1 - p_0)``, computed as a
    softplus.

    Parameters
    ----------
    logits : float tensor (..., n, K + 1)
        The leading axes count heads, each of which gets its loss.
    is_ai, generator : tensor (n,)
        Targets, integer or float; where unknown they may hold anything.
    known_ai, known_generator : bool tensor (n,)
        A generator counts only where the row is known to be AI.
    row_weight : float tensor (n,), optional
        By which each row's loss is multiplied in the mean.
    """
    logits = torch.where(known_ai.unsqueeze(-1), logits, 0)
    ai = known_ai & (is_ai == 1)
    named = ai & known_generator
    target = torch.where(named, generator, -1).long() + 1
    marginal = F.softplus(logits[..., 0] - logits[..., 1:].logsumexp(-1))
    losses = torch.where(ai & ~named, marginal, _cross_entropy(logits, target))
    return _mean(losses, known_ai, row_weight)


def contrastive_loss(hidden: Tensor, y: Tensors, *, applies: Tensors) -> Tensor:
    """Pull together the hidden units of rows of one class, and away from those of other rows.

    Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu & Krishnan, "Supervised Contrastive Learning" (2020),
    equation 2, at temperature 0.07, arXiv:2004.11362; the mean over rows that another row is like. Rows are of one
    class that are in all tasks: real, or of one generator.

    Parameters
    ----------
    hidden : float tensor (..., n, h)
        The leading axes count heads.
    y, applies : mapping of task name to tensor (n,)
        As of `multitask_loss`.
    """
    z = F.normalize(hidden, dim=-1)
    own = torch.eye(z.shape[-2], dtype=torch.bool, device=z.device)
    same = ~own
    for name, rows in applies.items():
        label = torch.where(rows, y[name], -1)
        same = same & (label == label.unsqueeze(-1))
    similarity = (z @ z.mT) / _TEMPERATURE
    log_share = similarity - similarity.masked_fill(own, -torch.inf).logsumexp(-1, keepdim=True)
    n_same = same.sum(-1)
    losses = -torch.where(same, log_share, 0).sum(-1) / n_same.clamp(min=1)
    return _mean(losses, n_same > 0, None)


@dataclass(frozen=True)
class Objective:
    """A loss with all that a network needs to be trained on it.

    Attributes
    ----------
    outputs : callable
        ``tasks -> {name: number of logits}``; the order is that of the network's outputs.
    loss : callable
        ``(logits, y, *, tasks, applies, weight, row_weight) -> (...)``; leading axes of the logits count heads.
    proba : callable
        ``(logits, tasks) -> {task name: probabilities}`` in the shapes of `heads.head.protocol.Prediction`.
    """

    outputs: Callable[[Sequence[Task]], dict[str, int]]
    loss: Callable[..., Tensor]
    proba: Callable[[Tensors, Sequence[Task]], dict[str, Tensor]]


def _task_outputs(tasks: Sequence[Task]) -> dict[str, int]:
    return {task.name: task.n_logits for task in tasks}


def _task_proba(logits: Tensors, tasks: Sequence[Task]) -> dict[str, Tensor]:
    def proba(task: Task) -> Tensor:
        z = logits[task.name]
        return z.sigmoid() if task.kind == "binary" else z.softmax(-1)

    return {task.name: proba(task) for task in tasks}


def _paper_outputs(tasks: Sequence[Task]) -> dict[str, int]:
    return {task.name: task.n_logits + _n_spare(task) for task in tasks}


def _paper_proba(logits: Tensors, tasks: Sequence[Task]) -> dict[str, Tensor]:
    # The softmax of the other logits is p_k / (1 - p_0), without a division.
    kept = {task.name: logits[task.name][..., 1:] for task in tasks if _n_spare(task)}
    return _task_proba({**logits, **kept}, tasks)


def _n_spare(task: Task) -> int:
    return int(task.parent is not None and task.kind == "multiclass")


def _joint_outputs(tasks: Sequence[Task]) -> dict[str, int]:
    return {"joint": 1 + (len(tasks[1].classes) if len(tasks) > 1 else 1)}


def _joint_objective(
    logits: Tensors,
    y: Tensors,
    *,
    tasks: Sequence[Task],
    applies: Tensors,
    weight: float = 1.0,
    row_weight: Tensors | None = None,
) -> Tensor:
    a, b = tasks[0].name, tasks[-1].name  # with one task alone the only "generator" is AI, and is never named
    known = applies[b] if len(tasks) > 1 else torch.zeros_like(applies[a])
    own = None
    if row_weight is not None:  # a generator's share of what the AI rows weigh
        own = row_weight[a] if len(tasks) == 1 else row_weight[a] * row_weight[b]
    return joint_loss(logits["joint"], y[a], y[b], known_ai=applies[a], known_generator=known, row_weight=own)


def _joint_proba(logits: Tensors, tasks: Sequence[Task]) -> dict[str, Tensor]:
    real, generators = logits["joint"][..., 0], logits["joint"][..., 1:]
    proba = {tasks[0].name: (generators.logsumexp(-1) - real).sigmoid()}  # 1 - p_0 without the subtraction
    if len(tasks) > 1:
        proba[tasks[1].name] = generators.softmax(-1)  # p_k / (1 - p_0) without the division
    return proba


OBJECTIVES: Mapping[str, Objective] = {
    "multitask": Objective(_task_outputs, multitask_loss, _task_proba),
    "paper": Objective(_paper_outputs, paper_loss, _paper_proba),
    "joint": Objective(_joint_outputs, _joint_objective, _joint_proba),
}
