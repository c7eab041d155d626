"""Calibrate a run: operating points and sets of generators, from rows that its head neither learned nor chose by.

These are the calibrating part of its own validation, or the ``valid`` rows of another data set. Test rows are never
read. A run never changes: what is found goes into the record of a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from featcache import FeatureStore
from heads.data.tasks import joint_tasks
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.protocol import Prediction
from heads.runs.blocks import predict_rows
from heads.runs.calibration_rows import CalibrationRows
from heads.runs.crossfit import CrossFit
from heads.runs.record import RunRecord
from heads.runs.run import Run, save_run
from heads.runs.run_files import FOLDS_FILE
from heads.verdicts.guarantees import Demand, build_point
from heads.verdicts.points import BALANCED, OperatingPoint
from heads.verdicts.record import VerdictRules
from heads.verdicts.sets import GeneratorSets, build_sets

__all__ = ["Calibration", "Request", "calibrate_run", "check_apart", "save_calibrated", "save_fitted"]

_MAX_FILE = 2**30


@dataclass(frozen=True)
class Request:
    """What a run is to be calibrated for.

    Attributes
    ----------
    demand : Demand
        Of an operating point; without budgets there is none.
    coverage : float or None
        Of sets of generators; None: no sets.
    name : str or None
        Of the point; default: that of the demand, and of the view where that is not the run's own.
    view : str or None
        Of the pictures; default: that which the head was selected on.
    """

    demand: Demand
    coverage: float | None = None
    name: str | None = None
    view: str | None = None

    def __post_init__(self) -> None:
        if not self.demand.budgets and self.coverage is None:
            raise HeadsError("nothing to calibrate: name --max-fpr, --max-fnr or --coverage, e.g. --max-fpr 0.05")
        if not self.demand.budgets and (self.demand.by_origin or self.name is not None):
            raise HeadsError("--by and --name are of an operating point: name its budget, e.g. --max-fpr 0.05")
        if self.name == "":
            raise HeadsError("--name is empty: leave it out, or give the operating point a name such as strict")

    @property
    def point_name(self) -> str:
        """What the operating point is called."""
        words = [self.demand.name, *([self.view] if self.view else [])]
        return self.name or "".join(c if c.isalnum() or c in "._-" else "-" for c in "-".join(words).lower())


@dataclass(frozen=True)
class Calibration:
    """What came of it.

    Attributes
    ----------
    record : RunRecord
        With the new point, as the one that is used where none is named, and the new sets.
    point : OperatingPoint or None
    sets : GeneratorSets or None
    mean_size : float or None
        How many generators a set has on average, on the rows that it was found on.
    n : int
        Rows that were looked at.
    n_refused, n_shared : int
        Rows left out: without a vector in the view; with a picture, caption or group of a row that the head was fitted
        or selected on.
    note : str or None
        What could not be found out.
    """

    record: RunRecord
    point: OperatingPoint | None
    sets: GeneratorSets | None
    mean_size: float | None
    n: int
    n_refused: int
    n_shared: int
    note: str | None


def calibrate_run(run: Run, store: FeatureStore, request: Request) -> Calibration:
    """Find the operating point and the sets of generators that are asked for.

    Parameters
    ----------
    run : Run
        It stays as it is; its folder need not be written yet.
    store : FeatureStore
        With the run's own data set, or with another, of which all ``valid`` rows count that the head has not seen.
    request : Request

    Raises
    ------
    FingerprintMismatch
        If the store has no vectors of the producer, view and outputs that the head takes.
    HeadsError
        If validation is no longer that of the run; if there are too few rows for what is asked, with the number that is
        needed; if the run has a point of that name.
    """
    if request.coverage is not None and not run.knows_generators:
        raise HeadsError(f"--coverage {request.coverage:g}: the head of {run.path} tells no generators apart")
    if request.demand.budgets:
        _check_name(run, request.point_name)
    rows = CalibrationRows.find(run, store, view=request.view)
    prediction = predict_rows(run.head, rows.source, np.arange(len(rows)))
    point = _find_point(prediction, rows, request) if request.demand.budgets else None
    sets, mean_size = (None, None) if request.coverage is None else _find_sets(prediction, rows, request.coverage)
    record = _with_rules(run.record, point, sets, balanced=run.points[BALANCED].ai_from)
    return Calibration(record, point, sets, mean_size, len(rows), rows.n_refused, rows.n_shared, rows.note)


def save_calibrated(run: Run, record: RunRecord, *, out: Path, overwrite: bool = False) -> Run:
    """Write a run with a calibrated record and, byte for byte, the files of the run that was calibrated.

    Raises
    ------
    HeadsError
        If ``out`` is that run's own folder, or a file of it is no longer what was recorded.
    """
    if out.resolve() == run.path.resolve():
        raise HeadsError(f"{out} is the run itself, and a run never changes: name another --out")
    contents = Contents(run.path, run.record.files)
    files = {name: contents.read(name, limit=_MAX_FILE) for name in run.record.files}
    return save_run(record, run.head, out=out, likeness=run.likeness, attachments=files, overwrite=overwrite)


def save_fitted(
    run: Run, store: FeatureStore, *, demand: Demand, crossed: CrossFit | None, overwrite: bool = False
) -> Run:
    """Write a run that was just fitted, once: calibrated if it is asked for, or with its cross-fitted scores.

    Parameters
    ----------
    run : Run
        Its folder is to be made.
    store : FeatureStore
        That it was fitted on.
    demand : Demand
        Without budgets nothing is calibrated.
    crossed : CrossFit or None
    overwrite : bool

    Raises
    ------
    HeadsError
        If there are both: the scores are of other heads than the one that is calibrated.
    """
    check_apart(demand, None if crossed is None else crossed.k)
    record, files = run.record, {}
    if demand.budgets:
        record = calibrate_run(run, store, Request(demand)).record
    if crossed is not None:
        record, files = replace(record, folds=crossed.to_json()), {FOLDS_FILE: crossed.to_bytes()}
    out, likeness = run.path, run.likeness
    return save_run(record, run.head, out=out, likeness=likeness, attachments=files, overwrite=overwrite)


def check_apart(demand: Demand, folds: int | None) -> None:
    """Raise if both a guarantee and folds are asked for."""
    if demand.budgets and folds is not None:
        raise HeadsError(
            "--folds and a budget exclude each other: the heads whose scores folds give are not the one that is kept, "
            "and a guarantee is of that one; without --folds it is calibrated on validation"
        )


def _find_point(prediction: Prediction, rows: CalibrationRows, request: Request) -> OperatingPoint:
    a = joint_tasks(rows.features.tasks)[0].name
    raw = prediction.proba[a][rows.features.targets.applies[a]]
    return build_point(request.point_name, raw, rows.budgeted, request.demand)


def _find_sets(prediction: Prediction, rows: CalibrationRows, coverage: float) -> tuple[GeneratorSets, float]:
    """Return the sets, and how many generators they have on average on the rows that they were found on."""
    b = joint_tasks(rows.features.tasks)[1]
    assert b is not None
    known = rows.features.targets.applies[b.name]
    y, groups = rows.features.targets.y[b.name][known], rows.groups[known]
    about = {"view": rows.view, "dataset": rows.dataset, "rows": rows.part, "note": rows.condition}
    proba = prediction.proba[b.name][known]
    sets = build_sets(proba, y, groups, classes=b.classes, coverage=coverage, about=about)
    return sets, float(sets.choose(proba).sum(axis=1).mean())


def _check_name(run: Run, name: str) -> None:
    if name in run.points:
        raise HeadsError(
            f"run {run.path} has an operating point {name!r:.80} already: call the new one otherwise, --name"
        )


def _with_rules(
    record: RunRecord, point: OperatingPoint | None, sets: GeneratorSets | None, *, balanced: float
) -> RunRecord:
    """Return a record with a new point, which decides from now on, and new sets, where there are some."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    rules: VerdictRules = replace(record.verdicts, sets=sets or record.verdicts.sets)
    if point is None:
        return replace(record, created=created, verdicts=rules)
    rules = replace(rules, points=(*rules.points, point), point=point.name, balanced=balanced)
    return replace(record, created=created, verdicts=rules, threshold=point.ai_from, threshold_note=None)
