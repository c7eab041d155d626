"""Heads that see the same batches: an epoch gathers each batch once, and every pack of heads takes a step on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heads.data.tasks import Targets, Task
from heads.head.balance import row_weights
from heads.head.protocol import Prediction
from heads.head.selecting import joint_merit
from heads.head.task_scores import paper_score, selection_score
from heads.mlp.config import MlpConfig
from heads.mlp.course import Course
from heads.mlp.matrix import Matrix
from heads.mlp.network import Network
from heads.mlp.order import RowOrder
from heads.mlp.pack import Labels, Pack
from heads.mlp.replay import Replay, step_all
from heads.mlp.threads import one_thread

__all__ = ["Lane", "Member"]

IntArray = NDArray[np.int64]

_SCORE_ROWS = 8192


class Member:
    """A head of a lane: its place among all that are trained, what it is, and how it does."""

    def __init__(self, place: int, network: Network, config: MlpConfig, *, span: slice, seed: int, n_rows: int) -> None:
        self.place, self.network, self.config, self.span = place, network, config, span
        self.first = network.draw(torch.Generator().manual_seed(seed))
        self.course = Course(config, n_rows, weights=self.first)


class Lane:
    """Train some heads on the same rows in the same order.

    Parameters
    ----------
    matrix : Matrix
    targets : Targets
        Of all rows of the source.
    members : sequence of Member
        With one batch size and one balance.
    order : RowOrder
        Of the rows to learn from.
    select_rows : int array (m,)
        Heads are judged on them in all views that they learn from.
    device : str
    dtype : torch.dtype
    """

    def __init__(
        self,
        matrix: Matrix,
        targets: Targets,
        members: Sequence[Member],
        *,
        order: RowOrder,
        select_rows: IntArray,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self._matrix, self._order, self._device = matrix, order, device
        self._batch_size = members[0].config.batch_size
        tasks, balance = members[0].network.tasks, members[0].config.balance
        self._labels = _labels(targets.select(order.rows.numpy()), tasks, balance=balance, device=device)
        self._n_views, n_rows = order.n_views, len(select_rows)
        self._select_rows = torch.from_numpy(select_rows).repeat(self._n_views)
        self._select_views = torch.arange(self._n_views, dtype=torch.int16).repeat_interleave(n_rows)
        self._select_targets = targets.select(self._select_rows.numpy())
        self._select_labels = _labels(self._select_targets, tasks, balance=balance, device=device)
        stacks: dict[Any, list[Member]] = {}
        for member in members:
            stacks.setdefault((member.network, member.config.weight, member.config.contrast), []).append(member)
        self._stacks = [(_stack(network, stack, device, dtype), stack) for (network, *_), stack in stacks.items()]
        self._step = self._stepper()

    def run(self) -> Iterator[Member]:
        """Train until every head's course is over; yield each head after each of its epochs."""
        while self._stacks:
            start = time.perf_counter()
            yield from self._judge(self._train(), start)
            n_before = self._n_heads
            self._stacks = [kept for pack, stack in self._stacks if (kept := _keep(pack, stack)) is not None]
            if self._n_heads < n_before:
                self._step = self._stepper()

    @property
    def _n_heads(self) -> int:
        return sum(len(stack) for _, stack in self._stacks)

    def _stepper(self) -> Callable[[Tensor, Labels], list[Tensor]]:
        """Return what takes a step of every pack on a batch."""
        packs = [(pack, stack[0].span) for pack, stack in self._stacks]
        if torch.device(self._device).type == "cuda":
            return Replay(packs, batch_size=self._batch_size)
        return partial(step_all, packs)

    def _train(self) -> list[Tensor]:
        """Train an epoch; return each pack's mean losses."""
        positions, views = self._order.epoch()
        rows = self._order.rows[positions]
        losses: list[list[Tensor]] = [[] for _ in self._stacks]
        index = positions.to(self._device)
        start = 0
        for X in self._matrix.batches(rows, views, batch_size=self._batch_size):
            labels = self._labels.pick(index[start : start + len(X)])
            start += len(X)
            for seen, loss in zip(losses, self._step(X, labels), strict=True):
                seen.append(loss)
        return [torch.stack(seen).mean(0) for seen in losses]

    def _judge(self, losses: Sequence[Tensor], start: float) -> list[Member]:
        """Score each head on its select rows; return those that did not just diverge."""
        logits = self._select_logits()
        for (pack, stack), loss, z in zip(self._stacks, losses, logits, strict=True):
            with one_thread():
                select_loss = pack.evaluate(z, self._select_labels).tolist()
            proba = {name: value.cpu().numpy() for name, value in pack.proba(z).items()}
            for k, member in enumerate(stack):
                member.course.record(
                    float(loss[k]),
                    select_loss[k],
                    judge=partial(self._score, member, proba, k),
                    weights=partial(pack.copy, k),
                )
        members = [member for _, stack in self._stacks for member in stack]
        elapsed, total = time.perf_counter() - start, sum(member.network.n_parameters for member in members)
        for member in members:
            member.course.seconds += elapsed * member.network.n_parameters / total
        return [member for member in members if member.course.diverged is None]

    def _score(self, member: Member, proba: Mapping[str, NDArray[np.float32]], place: int) -> dict[str, float]:
        """Return the score of a head's epoch, and its merit, by which the best one is chosen."""
        prediction = Prediction({name: value[place] for name, value in proba.items()})
        targets, tasks = self._select_targets, member.network.tasks
        if member.config.select_by == "paper":
            score = paper_score(prediction, targets, tasks)
            return {"score": score, "merit": score}
        merit = joint_merit(prediction, targets, tasks)
        return {"score": selection_score(prediction, targets, tasks), "merit": merit}

    def _select_logits(self) -> list[dict[str, Tensor]]:
        parts: list[list[Mapping[str, Tensor]]] = [[] for _ in self._stacks]
        views = None if self._n_views == 1 else self._select_views
        for X in self._matrix.batches(self._select_rows, views, batch_size=_SCORE_ROWS):
            for (pack, stack), seen in zip(self._stacks, parts, strict=True):
                seen.append(pack.logits(X[:, stack[0].span]))
        return [{name: torch.cat([part[name] for part in seen], dim=1) for name in seen[0]} for seen in parts]


def _labels(targets: Targets, tasks: Sequence[Task], *, balance: str, device: str) -> Labels:
    weights = row_weights(targets, tasks, balance) or {}
    return Labels(
        {name: torch.tensor(y, device=device, dtype=torch.int16) for name, y in targets.y.items()},
        {name: torch.tensor(applies, device=device) for name, applies in targets.applies.items()},
        {name: torch.tensor(own, device=device, dtype=torch.float32) for name, own in weights.items()},
    )


def _stack(network: Network, members: Sequence[Member], device: str, dtype: torch.dtype) -> Pack:
    configs, weights = [member.config for member in members], [member.first for member in members]
    return Pack(network, configs, weights=weights, device=device, dtype=dtype)


def _keep(pack: Pack, members: Sequence[Member]) -> tuple[Pack, list[Member]] | None:
    """Drop the heads whose course is over: they cost nothing more and never change."""
    places = [k for k, member in enumerate(members) if not member.course.is_over]
    if 0 < len(places) < len(members):
        pack.keep(places)
    return (pack, [members[k] for k in places]) if places else None
