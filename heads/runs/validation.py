"""What the two parts of validation say of a fitted head: its threshold, and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache import link_rows
from heads.data.division import Division
from heads.data.features import Features
from heads.data.tasks import IntArray, Targets, Task, joint_tasks
from heads.head.metrics import score_prediction
from heads.head.protocol import Prediction
from heads.head.task_scores import task_score
from heads.verdicts.balanced import THRESHOLD_RULE, choose_balanced, neutral_threshold
from heads.verdicts.fitting import Scores, fit_maps
from heads.verdicts.record import VerdictRules

__all__ = ["calibrate", "summarise"]


def calibrate(
    views: Sequence[Prediction], part: Features, *, prior: float | None
) -> tuple[float, str | None, VerdictRules]:
    """Choose the threshold of task A, or say why the neutral one has to do, and fit maps to probabilities.

    Parameters
    ----------
    views : sequence of Prediction
        Of the calibrating rows, in each view that the head was fitted on.
    part : Features
        The calibrating rows.
    prior : float or None
        Share of AI among the rows that were fitted.

    Returns
    -------
    threshold : float
    note : str or None
    verdicts : VerdictRules
    """
    a, b = joint_tasks(part.tasks)
    groups = link_rows(part)
    of_a = _scores(a, views, part.targets, groups)
    of_b = _scores(b, views, part.targets, groups) if b else None
    verdicts = VerdictRules(fit_maps(of_a, of_b, prior=prior), threshold_rule=THRESHOLD_RULE)
    missing = _missing(part)
    if missing is None:
        return choose_balanced(of_a, prior=prior), None, verdicts
    threshold = neutral_threshold(prior)
    meaning = "" if prior is None else ", the share of AI in training"
    note = f"the calibrating part of validation has no {missing} rows: the threshold is {threshold:.3g}{meaning}"
    return threshold, note, verdicts


def summarise(
    parts: Mapping[str, Features],
    predictions: Mapping[str, Prediction],
    *,
    division: Division,
    threshold: float,
) -> dict[str, Any]:
    """Return what a run's record says of validation: the division, and each part's scores (see `runs.fitting`)."""
    summary: dict[str, Any] = {"rule": division.rule, "digest": division.digest, "note": _note(parts["selecting"])}
    for name, part in parts.items():
        prediction = predictions[name]
        scores = {task.name: _score(task, prediction, part.targets) for task in part.tasks}
        known = [score for score in scores.values() if score is not None]
        metrics = score_prediction(prediction, part.targets, tasks=part.tasks, threshold=threshold)
        score = sum(known) / len(known) if known else None
        summary[name] = {"n": len(part), "score": score, "task_scores": scores, **metrics}
    return summary


def _note(part: Features) -> str | None:
    """Say what the head could not be selected by."""
    missing = _missing(part)
    return missing and (
        f"the selecting part of validation has no {missing} rows, by which epochs and strengths are chosen: split "
        "'valid' needs two groups or more that have some"
    )


def _missing(part: Features) -> str | None:
    """Return which classes of task A a part has no rows of, as words."""
    a = part.tasks[0]
    y = part.targets.y[a.name][part.targets.applies[a.name]]
    return " and no ".join(name for code, name in enumerate(a.classes) if not (y == code).any()) or None


def _score(task: Task, prediction: Prediction, targets: Targets) -> float | None:
    rows = targets.applies[task.name]
    return task_score(task, targets.y[task.name][rows], prediction.proba[task.name][rows]) if rows.any() else None


def _scores(task: Task, views: Sequence[Prediction], targets: Targets, groups: IntArray) -> Scores:
    rows = targets.applies[task.name]
    proba = np.stack([view.proba[task.name][rows] for view in views])
    return Scores(targets.y[task.name][rows], proba, groups[rows])
