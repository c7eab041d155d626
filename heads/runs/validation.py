"""What the two parts of validation say of a fitted head: its threshold, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heads.data.division import Division
from heads.data.features import Features
from heads.data.tasks import Targets, Task
from heads.head.metrics import choose_threshold, score_prediction
from heads.head.protocol import Prediction
from heads.head.task_scores import task_score

__all__ = ["calibrate", "summarise"]


def calibrate(prediction: Prediction, part: Features) -> tuple[float, str | None]:
    """Choose the threshold of task A, or say why 0.5 has to do."""
    missing = _missing(part)
    if missing:
        return 0.5, f"the calibrating part of validation has no {missing} rows: the threshold is 0.5"
    a = part.tasks[0]
    rows = part.targets.applies[a.name]
    return choose_threshold(part.targets.y[a.name][rows], prediction.proba[a.name][rows]), None


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
