"""Which rows fit, select and score: the splits as they are, or folds that no group, caption or picture crosses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featcache import link_rows
from heads.data.dealing import deal, rank_sets
from heads.data.division import CLASS_RULE, divide_validation
from heads.data.features import Features
from heads.data.tasks import IntArray
from heads.errors import HeadsError

__all__ = ["MIN_FOLDS", "Part", "assign_folds", "build_parts", "label_codes"]

MIN_FOLDS = 3


@dataclass(frozen=True)
class Part:
    """Row numbers of one division of the rows.

    Attributes
    ----------
    fit_rows : int array
        A head, and its standardisation, learns from these alone.
    select_rows : int array
        These choose its epoch or strength.
    score_rows : int array
        Its decisions on these are compared. Of folds they are neither of the above.
    """

    fit_rows: IntArray
    select_rows: IntArray
    score_rows: IntArray


def build_parts(features: Features, folds: int | None, *, rule: str = CLASS_RULE) -> tuple[Part, ...]:
    """Divide rows of the splits ``train`` and ``valid``.

    Without folds there is one part: ``train`` fits, the selecting half of ``valid`` selects, all of ``valid`` is
    scored. With K folds there are K parts: fold f scores, fold f + 1 selects, the others fit, so that every row is
    scored once by heads that saw nothing of it, not even to choose their epoch.

    Parameters
    ----------
    features : Features
    folds : int or None
        At least `MIN_FOLDS`.
    rule : str
        By which ``valid`` is divided where there are no folds.
    """
    if folds is None:
        valid = np.flatnonzero(features.split == "valid")
        division = divide_validation(features.select(valid), rule=rule)
        return (Part(np.flatnonzero(features.split == "train"), valid[division.selecting], valid),)
    if folds < MIN_FOLDS:
        raise HeadsError(f"folds is {folds}, expected {MIN_FOLDS} or more: one scores, one selects, the others fit")
    fold = assign_folds(features, link_rows(features), folds)
    rows = [np.flatnonzero(fold == number) for number in range(folds)]
    parts = []
    for number in range(folds):
        following = (number + 1) % folds
        fit = np.flatnonzero((fold != number) & (fold != following))
        parts.append(Part(fit, rows[following], rows[number]))
    return tuple(parts)


def assign_folds(features: Features, sets: IntArray, folds: int) -> IntArray:
    """Return each row's fold: sets go, largest first, to the fold that is shortest of their classes.

    Parameters
    ----------
    features : Features
    sets : int array (n,)
        Rows of one number stay together, as `featcache.link_rows` returns them.
    folds : int
    """
    n_sets = int(sets.max()) + 1 if len(sets) else 0
    if n_sets < folds:
        found = f"{len(sets)} rows make {n_sets} sets of one group or picture"
        raise HeadsError(f"{found}, expected {folds} or more: ask for fewer --folds")
    classes = label_codes(features)
    ranked = rank_sets(sets, features.names.tolist())
    counts = np.zeros((n_sets, int(classes.max()) + 1))
    np.add.at(counts, (ranked, classes), 1)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    fold: IntArray = deal(((slice(None), each) for each in shares), np.zeros((folds, counts.shape[1])))[ranked]
    return fold


def label_codes(features: Features) -> IntArray:
    """Return a number for each row's known labels, of all tasks together: (n,)."""
    code = np.zeros(len(features), dtype=np.int64)
    for task in features.tasks:
        known = np.where(features.targets.applies[task.name], features.targets.y[task.name] + 1, 0)
        code = code * (len(task.classes) + 1) + known
    return code
