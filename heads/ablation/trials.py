"""Trials are run: heads are fitted together and take their decisions, unless that was done before."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heads.ablation.bootstrap import decide
from heads.ablation.controls import LABELS_SHUFFLED
from heads.ablation.grid import Cell
from heads.ablation.ledger import Ledger, TrialResult
from heads.ablation.study import EpochProgress, Study, Trial
from heads.data.features import Features
from heads.data.folds import Part
from heads.data.row_source import RowSource
from heads.data.tasks import Targets, joint_tasks
from heads.head.kinds import find_kind
from heads.head.protocol import Head, Prediction
from heads.runs.fitting import build_head

if TYPE_CHECKING:
    from heads.linear.head import LinearConfig, LinearHead

__all__ = ["TrialRunner"]


@dataclass(frozen=True)
class _Outcome:
    """What came of one head: what it says of the rows that are scored, and what it took."""

    prediction: Prediction
    n_parameters: int | None
    best_epoch: int | None = None
    seconds: float = 0.0


class TrialRunner:
    """Runs the trials of a study.

    Parameters
    ----------
    study : Study
    ledger : Ledger, optional
        Where finished trials are kept.
    """

    def __init__(self, study: Study, ledger: Ledger | None = None) -> None:
        self.study, self._ledger = study, ledger
        self._shared: dict[tuple[Cell, int], list[LinearHead]] = {}

    def on(self, parts: tuple[Part, ...]) -> TrialRunner:
        """Return what runs trials on other parts, each of which leaves something out, with the same ledger."""
        return TrialRunner(replace(self.study, parts=parts, holds_out=True), self._ledger)

    def run(self, trial: Trial, *, progress: EpochProgress | None = None) -> TrialResult:
        """Fit the heads of a trial and take their decisions, unless that was done before.

        ``progress`` is called with each epoch's number, where there are epochs.
        """
        if self._ledger is None:
            return self._fit(trial, progress)
        study, name = self.study, _name(trial, holds_out=self.study.holds_out)
        n_classes = tuple(len(task.classes) for task in study.features.tasks)
        n_rows = len(study.parts[trial.part].score_rows)
        size = {"n_heads": len(trial.cells), "n_rows": n_rows}
        found = self._ledger.find(name, **size, n_classes=n_classes, has_p_ai=study.holds_out)
        if found is None:
            found = self._fit(trial, progress)
            self._ledger.add(name, found)
        return found

    def _fit(self, trial: Trial, progress: EpochProgress | None) -> TrialResult:
        study, cell = self.study, trial.cells[0]
        source = study.source(cell, seed=trial.seed)
        targets = study.targets(cell.control, seed=trial.seed)
        start = time.perf_counter()
        if find_kind(cell.head).fits_packs:
            outcomes = self._fit_pack(trial, source, targets, progress)
        else:
            head = self._fit_head(trial, source, targets)
            prediction = head.predict_proba(source.read(study.parts[trial.part].score_rows))
            outcomes = [_Outcome(prediction, head.n_parameters)]
        # What is not of one head (reading, standardising, scoring) is shared out evenly.
        seconds = np.array([outcome.seconds for outcome in outcomes])
        rest = max(time.perf_counter() - start - seconds.sum(), 0.0) / len(outcomes)
        return TrialResult(
            decisions=np.stack([_stack(outcome.prediction, study.features) for outcome in outcomes]),
            seconds=seconds + rest,
            n_parameters=_whole([outcome.n_parameters for outcome in outcomes]),
            best_epoch=_whole([outcome.best_epoch for outcome in outcomes]),
            p_ai=np.stack([_p_ai(outcome.prediction, study.features) for outcome in outcomes])
            if study.holds_out
            else None,
        )

    def _fit_pack(
        self, trial: Trial, source: RowSource, targets: Targets, progress: EpochProgress | None
    ) -> list[_Outcome]:
        from heads.ablation.packs import build_spec, fit_pack  # torch: not where no head is a network
        from heads.mlp.scoring import predict_pack

        study = self.study
        specs = [build_spec(study, cell, trial) for cell in trial.cells]
        columns = study.columns(trial.cells[0])
        fitted = fit_pack(study, source, targets, specs, columns=columns, progress=progress)
        predictions = predict_pack(fitted, source.read(study.parts[trial.part].score_rows))
        return [
            _Outcome(prediction, found.network.n_parameters, found.best_epoch, found.seconds)
            for prediction, found in zip(predictions, fitted, strict=True)
        ]

    def _fit_head(self, trial: Trial, source: RowSource, targets: Targets) -> Head:
        """Fit a head by itself; it learns from all views of its rows."""
        (cell,) = trial.cells
        study, part = self.study, self.study.parts[trial.part]
        config = study.config(cell, seed=trial.seed)
        device, memory = (study.device, study.memory) if find_kind(cell.head).has_members else ("cpu", None)
        head = build_head(study.features.tasks, config, columns=study.columns(cell), device=device, memory=memory)
        if find_kind(cell.head).shares_parts and len(study.parts) > 1 and source.n_views == 1:
            from heads.linear.head import LinearConfig

            own = LinearConfig.from_mapping(config.settings)
            if own.takes_moments:
                return self._fit_parts(trial, own, source, targets)[trial.part]
        return head.fit_rows(source, targets, part.fit_rows, part.select_rows, seed=trial.seed)

    def _fit_parts(self, trial: Trial, config: LinearConfig, source: RowSource, targets: Targets) -> list[LinearHead]:
        """Return the heads of all parts, whose trials follow each other: sums over rows that they share are one."""
        from heads.linear.head import LinearHead

        study, key = self.study, (trial.cells[0], trial.seed)
        if key not in self._shared:
            X = source.read(np.arange(source.n_rows))
            parts = [(part.fit_rows, part.select_rows) for part in study.parts]
            heads = LinearHead.fit_parts(X, targets, parts, tasks=study.features.tasks, config=config)
            self._shared = {key: heads}  # of one configuration at a time
        return self._shared[key]


def _name(trial: Trial, *, holds_out: bool) -> str:
    # Labels were once shuffled row by row, and such trials scored on the true ones.
    marks = {"held out": holds_out, "labels by set": trial.cells[0].control == LABELS_SHUFFLED}
    marked = [mark for mark, is_so in marks.items() if is_so]
    what = [[cell.to_dict() for cell in trial.cells], trial.seed, trial.part, *marked]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _whole(values: list[int | None]) -> NDArray[np.int64]:
    """Return whole numbers as a ledger keeps them: -1 for None."""
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _p_ai(prediction: Prediction, features: Features) -> NDArray[np.float32]:
    return prediction.proba[joint_tasks(features.tasks)[0].name].astype(np.float32)


def _stack(prediction: Prediction, features: Features) -> NDArray[np.int16]:
    decisions = decide(prediction, features.tasks)
    return np.stack([decisions[task.name] for task in features.tasks]).astype(np.int16)
