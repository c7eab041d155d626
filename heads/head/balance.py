"""Weights of rows, so that rare classes, or rare origins, count as much as frequent ones while a head is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import BoolArray, IntArray, Targets, Task
from heads.errors import HeadsError

__all__ = ["BALANCES", "RowWeights", "balance_of", "check_balance", "fitted_share", "row_weights", "task_weights"]

BALANCES = ("none", "class", "origin")
"""What weighs the same: rows; classes; classes, and in each class the origins that its rows come from."""

RowWeights = Mapping[str, NDArray[np.float64]]
"""Of each task the weight of every row, (n,): 1 on average over the rows to which it applies, 1 elsewhere."""


def check_balance(balance: str) -> None:
    """Refuse what is no name of a way to weigh rows."""
    if balance not in BALANCES:
        raise HeadsError(f"balance is {balance!r:.80}, expected one of {', '.join(BALANCES)}")


def row_weights(targets: Targets, tasks: Sequence[Task], balance: str) -> RowWeights | None:
    """Return what each row counts in the loss of each task; None where all count the same.

    Of K classes that occur each weighs n / K. With ``origin`` each origin in a class has its share of that; rows that
    do not say where they come from are as of one more origin.

    Raises
    ------
    HeadsError
        If rows are to weigh by origin, and no row has one.
    """
    if balance == "none":
        return None
    return {task.name: _weights_of(targets, task, balance) for task in tasks}


def task_weights(
    targets: Targets, task: Task, balance: str, *, rows: BoolArray | IntArray
) -> NDArray[np.float64] | None:
    """Return what some of the rows count in the loss of one task, of `row_weights`; None where all count the same."""
    weights = row_weights(targets, [task], balance)
    return None if weights is None else weights[task.name][rows]


def fitted_share(share: float, settings: Mapping[str, Any]) -> float:
    """Return the share of AI rows that raw P(AI) of a head with such settings stands for.

    That of the rows that it was fitted on, ``share``, where all rows count the same; else one half.
    """
    return share if balance_of(settings) == "none" else 0.5


def balance_of(settings: Mapping[str, Any]) -> str:
    """Return what weighs the same for a head with such settings; for an ensemble, what does so for its members."""
    own = settings.get("own")
    members = own.values() if isinstance(own, Mapping) else ()
    found = [each["balance"] for each in members if isinstance(each, Mapping) and "balance" in each]
    return str(settings.get("balance", next(iter(found), "none")))


def _weights_of(targets: Targets, task: Task, balance: str) -> NDArray[np.float64]:
    weights = np.ones(len(targets))
    rows = np.flatnonzero(targets.applies[task.name])
    if not len(rows):
        return weights
    classes, y = np.unique(targets.y[task.name][rows], return_inverse=True)
    if balance == "class":
        weights[rows] = len(rows) / len(classes) / np.bincount(y)[y]
        return weights
    if targets.origin is None:
        raise HeadsError("balance is 'origin', and no row says where it is from: give a column origin, or take 'class'")
    origins = np.unique(targets.origin[rows], return_inverse=True)[1].reshape(-1)
    cells, cell = np.unique(np.stack([y, origins]), axis=1, return_inverse=True)
    n_origins, cell = np.bincount(cells[0]), cell.reshape(-1)  # of each class
    weights[rows] = len(rows) / len(classes) / n_origins[y] / np.bincount(cell)[cell]
    return weights
