"""Pseudo-labels: a head labels rows of a split, confident ones join training, it is fitted anew.

After NAU-QMUL's strategy for Defactify-4 (keep confident test rows, add them to training, retrain), without
its leaks: validation never changes, and the rows for A and for B are chosen separately.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featcache import FeatureStore, shared_rows
from heads.data.division import divide_validation
from heads.data.features import BoolArray, Features, FloatArray, IntArray
from heads.data.loading import load_features
from heads.data.tasks import UNKNOWN, Task, build_targets, joint_tasks
from heads.errors import HeadsError
from heads.head.protocol import Prediction, Progress
from heads.runs.fitting import FittedRun, fit_run
from heads.runs.run import Run, load_run_features
from heads.runs.run_files import PSEUDO_FILE

__all__ = [
    "PSEUDO_FILE",
    "PseudoLabels",
    "PseudoRound",
    "choose_labels",
    "pseudo_label",
]


@dataclass(frozen=True)
class PseudoLabels:
    """The labels that a head gave to ``n`` rows.

    Attributes
    ----------
    a, b : int64 array (n,)
        Class indices of tasks A and B, -1 where no label was taken.
    confidence_a, confidence_b : float32 array (n,)
        max(p, 1 - p) of A and max of p(k | AI); ``confidence_b`` is NaN if the head has no task B.
    """

    a: IntArray
    b: IntArray
    confidence_a: FloatArray
    confidence_b: FloatArray

    def select(self, rows: BoolArray) -> PseudoLabels:
        """Return the labels of some rows."""
        return PseudoLabels(self.a[rows], self.b[rows], self.confidence_a[rows], self.confidence_b[rows])


@dataclass(frozen=True)
class PseudoRound:
    """A refitted head, and the labels that it was given.

    Attributes
    ----------
    fitted : FittedRun
    rows : Features
        The rows that were taken, with the pseudo-labels as targets.
    labels : PseudoLabels
        Theirs.
    report : mapping
        ``split``, ``threshold``, ``n`` (rows of the split), ``n_refused``, ``n_overlap`` (dropped: group or
        content occurs in validation), ``n_taken``, and per task and class ``taken``, ``known`` and
        ``precision`` (the share of right labels among those whose truth is known; None if there are none).
    """

    fitted: FittedRun
    rows: Features
    labels: PseudoLabels
    report: Mapping[str, Any]

    def table(self) -> bytes:
        """Return where each label came from, as CSV: one line a row that was taken."""
        a, b = joint_tasks(self.rows.tasks)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("sample_id", "label_a", "label_b", "confidence_a", "confidence_b"))
        values = (self.labels.a, self.labels.b, self.labels.confidence_a, self.labels.confidence_b)
        for sample_id, label_a, label_b, conf_a, conf_b in zip(
            self.rows.sample_id.tolist(), *(value.tolist() for value in values), strict=True
        ):
            name = b.classes[label_b] if b and label_b != UNKNOWN else ""
            writer.writerow((sample_id, a.classes[label_a], name, conf_a, conf_b if name else ""))
        return text.getvalue().encode()


def choose_labels(prediction: Prediction, tasks: Sequence[Task], threshold: float) -> PseudoLabels:
    """Keep the labels that a head is sure of; those of A and of B are chosen separately.

    A's label is kept where max(p, 1 - p) is at least ``threshold``; B's only on rows kept as AI, where the
    largest p(k | AI) is at least ``threshold``. A confident real row needs no confidence in B.
    """
    if not 0.5 < threshold <= 1:
        raise HeadsError(f"threshold is {threshold!r}, expected above 0.5 and at most 1")
    a, b = joint_tasks(tasks)
    p = prediction.proba[a.name]
    confidence_a = np.maximum(p, 1 - p)
    label_a = np.where(confidence_a >= threshold, p > 0.5, UNKNOWN).astype(np.int64)
    if b is None:
        nothing = np.full(len(p), np.nan, dtype=np.float32)
        return PseudoLabels(label_a, np.full(len(p), UNKNOWN), confidence_a, nothing)
    confidence_b = prediction.proba[b.name].max(axis=1)
    is_sure = (label_a == 1) & (confidence_b >= threshold)
    label_b = np.where(is_sure, prediction.proba[b.name].argmax(axis=1), UNKNOWN).astype(np.int64)
    return PseudoLabels(label_a, label_b, confidence_a, confidence_b)


def pseudo_label(
    run: Run,
    store: FeatureStore,
    split: str,
    *,
    threshold: float = 0.8,
    progress: Progress | None = None,
) -> PseudoRound:
    """Label rows of ``split`` with ``run``; refit its head, config and seed with them as training rows.

    Raises
    ------
    HeadsError
        If ``split`` is ``train`` or ``valid``; if no row is sure enough; if the validation rows are not those
        that ``run`` was selected on, before or after the refit.
    """
    if split in ("train", "valid"):
        why = "its rows have labels" if split == "train" else "validation never changes"
        raise HeadsError(f"split {split!r} cannot be pseudo-labelled: {why}; choose another --split, e.g. test")
    views = (*run.record.views, *run.record.config.settings.get("invariant_to", ()))
    if views:
        raise HeadsError(
            f"{run.path} was fitted on views {', '.join(views)}: a pseudo-label round refits on one view alone; "
            "start it from a run without --views and --invariant-to"
        )
    fit_rows = load_run_features(run, store, splits=("train", "valid"))
    _check_validation(run, _validation_digest(run, fit_rows))
    found = load_features(store, run.selections, splits=(split,), tasks=run.tasks)
    usable = found.usable(run.fusion)
    overlap = shared_rows(found, fit_rows.select(fit_rows.split == "valid"))
    candidates = found.select(usable & ~overlap)
    if not len(candidates):
        raise HeadsError(f"split {split!r} has no row to label: {_dropped(usable, overlap)} of {len(found)}")
    labels = choose_labels(run.predict(candidates), run.tasks, threshold)
    taken = labels.a != UNKNOWN
    if not taken.any():
        raise HeadsError(
            f"no label reaches confidence {threshold} among the {len(candidates)} rows of split {split!r} "
            f"(the highest is {float(labels.confidence_a.max()):.3f}): lower --threshold"
        )
    labels, truth = labels.select(taken), candidates.select(taken)
    rows = _relabel(truth, labels)
    fitted = fit_run(fit_rows, run.record.config, extra=rows, rule=run.record.division_rule, progress=progress)
    _check_validation(run, fitted.validation["digest"])
    counts = {"n": len(found), "n_refused": int((~usable).sum()), "n_overlap": int((usable & overlap).sum())}
    classes = _precision(labels, truth)
    report = {"split": split, "threshold": threshold, **counts, "n_taken": len(rows), "tasks": classes}
    return PseudoRound(fitted, rows, labels, report)


def _dropped(usable: BoolArray, overlap: BoolArray) -> str:
    refused, shared = int((~usable).sum()), int((usable & overlap).sum())
    both = f"{refused} lack a modality, {shared} share a group or content with validation"
    return f"{both}, together {refused + shared}"


def _validation_digest(run: Run, features: Features) -> str:
    kept = (features.split == "valid") & features.usable(run.fusion) & features.labelled
    return divide_validation(features.select(kept), rule=run.record.division_rule).digest


def _check_validation(run: Run, digest: str) -> None:
    expected = run.record.validation.get("digest")
    if digest != expected:
        raise HeadsError(
            f"the validation rows of this cache are not those that {run.path} was selected on (digest "
            f"{digest[:12]}, expected {str(expected)[:12]}): train a new head first"
        )


def _relabel(features: Features, labels: PseudoLabels) -> Features:
    a, b = joint_tasks(features.tasks)
    y = {a.name: labels.a, **({b.name: labels.b} if b else {})}
    targets = replace(build_targets(features.tasks, y), origin=features.targets.origin)
    return replace(features, targets=targets)


def _precision(labels: PseudoLabels, truth: Features) -> dict[str, dict[str, Any]]:
    """Count, per task and class, the labels taken and how many of those with a known truth are right."""
    a, b = joint_tasks(truth.tasks)
    y_a, known_a = truth.targets.y[a.name], truth.targets.applies[a.name]
    report = {a.name: _per_class(a, labels.a, truth=y_a, known=known_a)}
    if b is not None:
        named = truth.targets.applies[b.name]
        y_b = np.where(named, truth.targets.y[b.name], UNKNOWN)
        known_b = named | truth.unseen | (known_a & (y_a == 0))  # a real row, or another generator: known to be wrong
        report[b.name] = _per_class(b, labels.b, truth=y_b, known=known_b)
    return report


def _per_class(task: Task, labels: IntArray, *, truth: IntArray, known: BoolArray) -> dict[str, Any]:
    report = {}
    for code, name in enumerate(task.classes):
        taken = labels == code
        n_known = int((taken & known).sum())
        right = int((taken & known & (truth == code)).sum())
        report[name] = {
            "taken": int(taken.sum()),
            "known": n_known,
            "precision": right / n_known if n_known else None,
        }
    return report
