"""What rows must offer to train a head and to choose one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.head.protocol import FloatArray
from heads.head.scaling import check_features

__all__ = ["check_fit_rows", "check_labels", "check_parts"]


def check_fit_rows(
    tasks: Sequence[Task], X: FloatArray, targets: Targets, *, select: tuple[FloatArray, Targets]
) -> None:
    """Refuse rows that cannot train or choose a head.

    Every task needs a training row to which it applies, a binary one both classes; the select rows need one
    label. Matrices are finite float32, with one column count and one row a target.
    """
    check_features(X)
    check_features(select[0], n_features=X.shape[1], what="X of the select rows")
    for what, matrix, given in (("training", X, targets), ("select", *select)):
        _check_length(what, matrix, given)
    check_labels(tasks, targets, select[1])


def check_parts(
    tasks: Sequence[Task], X: FloatArray, targets: Targets, parts: Sequence[tuple[IntArray, IntArray]]
) -> None:
    """Refuse parts of a matrix's rows, to train on and to select with, for the reasons of `check_fit_rows`.

    Rows that no part names may hold anything.
    """
    _check_length("the parts'", X, targets)
    named = np.zeros(len(X), dtype=np.bool_)
    for rows, chosen in parts:
        named[rows] = named[chosen] = True
    check_features(X if named.all() else X[named])
    for rows, chosen in parts:
        check_labels(tasks, targets.select(rows), targets.select(chosen))


def check_labels(tasks: Sequence[Task], targets: Targets, select: Targets) -> None:
    """Refuse targets of training and of select rows that cannot train or choose a head; see `check_fit_rows`."""
    for task in tasks:
        y = targets.y[task.name][targets.applies[task.name]]
        if len(y) == 0:
            raise HeadsError(f"none of the {len(targets)} training rows has a label of task {task.name!r}")
        if task.kind == "binary" and y.min() == y.max():
            raise HeadsError(
                f"all {len(y)} labelled training rows of task {task.name!r} are {task.classes[y[0]]!r}: "
                f"expected both {task.classes[0]!r} and {task.classes[1]!r}"
            )
    if not any(select.applies[task.name].any() for task in tasks):
        raise HeadsError(f"none of the {len(select)} select rows has a label, expected at least one")


def _check_length(what: str, X: FloatArray, targets: Targets) -> None:
    if len(X) != len(targets):
        raise HeadsError(f"{what} X has {len(X)} rows, its targets have {len(targets)}")
