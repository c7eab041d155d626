"""Cross-fitted scores of train rows: K heads beside the one on all rows, each scored on rows it did not learn from.

They estimate, with intervals, how well heads that are fitted so do: for tables. The head of the run is none of them, so
that nothing of it is guaranteed by their scores. Validation selects each of them as it selects the run's head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as format_safetensors

from featcache import link_rows
from heads.data.features import BoolArray, Features
from heads.data.folds import assign_folds
from heads.data.row_source import StoredRows
from heads.data.tasks import IntArray, joint_tasks
from heads.errors import HeadsError
from heads.head.protocol import FloatArray
from heads.runs.blocks import predict_rows
from heads.runs.fitting import FittedRun
from heads.statistics.decisions import (
    DecisionCounts,
    balanced_accuracy,
    false_positive_rate,
    macro_f1,
    true_positive_rate,
)
from heads.statistics.intervals import bound
from heads.statistics.ranking import RankedScores
from heads.statistics.resampling import resample

__all__ = ["LEAST_FOLDS", "CrossFit", "Fit", "cross_fit"]

LEAST_FOLDS = 2
Weights = NDArray[np.float64]


class Fit(Protocol):
    """Fits a head on rows: `heads.runs.fitting.fit_run` with everything else."""

    def __call__(self, features: Features, *, stored: StoredRows) -> FittedRun:
        """Return the fitted head."""
        ...


@dataclass(frozen=True)
class CrossFit:
    """Scores of ``n`` train rows by heads that did not learn from them.

    Attributes
    ----------
    k : int
        Heads.
    p_ai : float32 array (n,)
        Raw P(AI).
    y : int array (n,)
        0 real, 1 AI, -1 unknown.
    group : int array (n,)
        Rows of one number stay together.
    fold : int array (n,)
        Which head scored the row.
    metrics : mapping of task name to mapping
        Figures with intervals by name, as `heads.statistics.intervals.Interval` writes them. Task A is decided at each
        head's own threshold.
    """

    k: int
    p_ai: FloatArray
    y: IntArray
    group: IntArray
    fold: IntArray
    metrics: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands in ``run.json``."""
        groups = len(np.unique(self.group))
        return {"k": self.k, "n": len(self.y), "groups": groups, "metrics": self.metrics}

    def to_bytes(self) -> bytes:
        """Return the safetensors file of the scores."""
        arrays = {
            "p_ai": self.p_ai.astype(np.float32),
            "y": self.y.astype(np.int8),
            "group": self.group.astype(np.int64),
            "fold": self.fold.astype(np.int16),
        }
        return format_safetensors({name: np.ascontiguousarray(values) for name, values in arrays.items()})


def cross_fit(features: Features, stored: StoredRows, *, folds: int, fusion: str, fit: Fit) -> CrossFit:
    """Fit a head for each fold of the train rows, groups whole, and score the fold with it.

    Parameters
    ----------
    features, stored
        As of `heads.runs.fitting.fit_run`, which they were made for.
    folds : int
    fusion : str
    fit : Fit

    Raises
    ------
    HeadsError
        If there are fewer groups than folds.
    """
    if folds < LEAST_FOLDS:
        raise HeadsError(f"--folds is {folds}, expected {LEAST_FOLDS} or more")
    usable = features.usable(fusion) & features.labelled
    train, valid = (np.flatnonzero((features.split == name) & usable) for name in ("train", "valid"))
    own = features.select(train)
    group = link_rows(own)
    fold = assign_folds(own, group, folds)
    a, b = joint_tasks(features.tasks)
    p_ai, is_ai = np.empty(len(train), np.float32), np.empty(len(train), np.bool_)
    generator = np.zeros(len(train), np.int64)
    for number in range(folds):
        rows = np.concatenate([train[fold != number], valid])
        fitted, held = fit(features.select(rows), stored=stored.select(rows)), np.flatnonzero(fold == number)
        found = predict_rows(fitted.head, stored, train[held]).proba
        p_ai[held], is_ai[held] = found[a.name], found[a.name].astype(np.float64) >= fitted.threshold
        if b is not None:
            generator[held] = found[b.name].argmax(axis=1)
    known = own.targets.applies[a.name]
    metrics = {a.name: _measure_a(own.targets.y[a.name][known], p_ai[known], is_ai[known], group[known])}
    if b is not None:
        rows_b = own.targets.applies[b.name]
        y = own.targets.y[b.name][rows_b]
        metrics[b.name] = _measure_b(y, generator[rows_b], group[rows_b], n_classes=len(b.classes))
    return CrossFit(folds, p_ai, np.where(known, own.targets.y[a.name], -1), group, fold, metrics)


def _measure_a(y: IntArray, p_ai: FloatArray, is_ai: BoolArray, group: IntArray) -> dict[str, Any]:
    codes, n_groups = _codes(group)
    counts = DecisionCounts.count(y, is_ai.astype(np.int64), codes, n_classes=2)
    ranked = RankedScores.sort(y, p_ai, codes)

    def measure(weights: Weights) -> dict[str, Weights]:
        confusion, ranks = counts.confusion(weights), ranked.measure(weights)
        return {
            "auc": ranks["auc"],
            "average_precision": ranks["average_precision"],
            "balanced_accuracy": balanced_accuracy(confusion),
            "fpr": false_positive_rate(confusion),
            "tpr": true_positive_rate(confusion),
        }

    of_class = [len(np.unique(codes[y == label])) for label in (0, 1)]
    n_of = {"fpr": of_class[0], "tpr": of_class[1], "average_precision": of_class[1]}
    return _with_intervals(measure, n_groups, n_of, default=min(of_class))


def _measure_b(y: IntArray, decided: IntArray, group: IntArray, *, n_classes: int) -> dict[str, Any]:
    codes, n_groups = _codes(group)
    counts = DecisionCounts.count(y, decided, codes, n_classes=n_classes)
    # One class, decided rightly (0) or wrongly (1).
    errors = DecisionCounts.count(np.zeros(len(y), np.int64), (y != decided).astype(np.int64), codes, n_classes=2)

    def measure(weights: Weights) -> dict[str, Weights]:
        wrong = false_positive_rate(errors.confusion(weights))
        return {"accuracy": 1 - wrong, "f1_macro": macro_f1(counts.confusion(weights))}

    return _with_intervals(measure, n_groups, {}, default=n_groups)


def _with_intervals(
    measure: Callable[[Weights], dict[str, Weights]], n_groups: int, n_of: Mapping[str, int], *, default: int
) -> dict[str, Any]:
    found = resample(measure, n_groups)
    return {name: bound(v, n_of.get(name, default), scale="logit").to_dict() for name, v in found.items()}


def _codes(group: IntArray) -> tuple[IntArray, int]:
    names, codes = np.unique(group, return_inverse=True)
    return codes.reshape(-1).astype(np.int64), max(1, len(names))
