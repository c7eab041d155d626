"""Trials of an ablation: configurations of one fusion, with one seed on one division of the rows, fitted together."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heads.ablation.bootstrap import decide
from heads.ablation.controls import LABELS_SHUFFLED, TEXT_SHUFFLED, ShuffledColumns, shuffle_labels, shuffle_rows
from heads.ablation.grid import Cell
from heads.ablation.ledger import Ledger, TrialResult
from heads.ablation.study_rows import StudyRows
from heads.data.columns import Columns
from heads.data.features import Features
from heads.data.folds import Part
from heads.data.row_source import RowSource
from heads.data.tasks import Targets
from heads.head.protocol import Device, Head, Prediction
from heads.runs.fitting import build_head, parse_config
from heads.runs.record import TrainConfig

if TYPE_CHECKING:
    from heads.linear.head import LinearHead
    from heads.mlp.engine import HeadSpec
    from heads.mlp.network import FittedNetwork

__all__ = ["EpochProgress", "Study", "Trial", "settings_of"]

EpochProgress = Callable[[int], None]


@dataclass(frozen=True)
class Trial:
    """Heads that are fitted together.

    Attributes
    ----------
    cells : tuple of Cell
        Of one head, fusion and control.
    seed : int
    part : int
        Number of the division of the rows.
    """

    cells: tuple[Cell, ...]
    seed: int
    part: int


@dataclass(frozen=True)
class Study:
    """Rows that are divided, and how heads are fitted on them.

    Attributes
    ----------
    rows : StudyRows
    parts : tuple of Part
    settings : mapping
        Common settings; each goes to the kinds of heads that have it.
    device : {"cpu", "cuda"}
        Of ``mlp`` heads.
    memory : str or None
        How much the matrix of ``mlp`` heads may take, e.g. ``"2GB"``; None: as much as it needs.
    ledger : Ledger or None
        Where finished trials are kept.
    """

    rows: StudyRows
    parts: tuple[Part, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: Device = "cpu"
    memory: str | None = None
    ledger: Ledger | None = None
    _linear: dict[tuple[Cell, int], list[LinearHead]] = field(default_factory=dict, init=False, repr=False)

    @property
    def features(self) -> Features:
        """Labels and identities of the rows."""
        return self.rows.features

    def run(self, trial: Trial, *, progress: EpochProgress | None = None) -> TrialResult:
        """Fit the heads of a trial and take their decisions, unless that was done before.

        ``progress`` is called with each epoch's number, where there are epochs.
        """
        if self.ledger is None:
            return self._fit(trial, progress)
        name, tasks = self._name(trial), self.features.tasks
        n_classes = tuple(len(task.classes) for task in tasks)
        n_rows = len(self.parts[trial.part].score_rows)
        found = self.ledger.find(name, n_heads=len(trial.cells), n_classes=n_classes, n_rows=n_rows)
        if found is None:
            found = self._fit(trial, progress)
            self.ledger.add(name, found)
        return found

    def source(self, fusion: str, control: str | None = None, *, seed: int = 0) -> RowSource:
        """Return the vectors of a fusion, all views; with shuffled text where that is the control."""
        source = self.rows.source(fusion)
        if control != TEXT_SHUFFLED:
            return source
        order = shuffle_rows(self.features, self.features.present["text"], seed=seed)
        return ShuffledColumns(source, self.features.columns(fusion).span(["text"]), order)

    def targets(self, control: str | None, *, seed: int) -> Targets:
        """Return the targets for fitting and selecting: shuffled ones where that is the control."""
        return shuffle_labels(self.features, seed=seed) if control == LABELS_SHUFFLED else self.features.targets

    def _fit(self, trial: Trial, progress: EpochProgress | None) -> TrialResult:
        cell = trial.cells[0]
        source = self.source(cell.fusion, cell.control, seed=trial.seed)
        targets = self.targets(cell.control, seed=trial.seed)
        start = time.perf_counter()
        score_rows = self.parts[trial.part].score_rows
        if cell.head == "mlp":
            from heads.mlp.scoring import predict_pack

            specs, columns = [self.spec(cell, trial) for cell in trial.cells], self.features.columns(cell.fusion)
            fitted = self.fit_pack(source, targets, specs, columns=columns, progress=progress)
            seconds = np.array([found.seconds for found in fitted])
            best_epoch = [found.best_epoch for found in fitted]
            n_parameters = [found.network.n_parameters for found in fitted]
            predictions = predict_pack(fitted, source.read(score_rows))
        else:
            head = self._fit_one(trial, source, targets)
            seconds, best_epoch, n_parameters = np.zeros(1), [-1], [count_parameters(head)]
            predictions = [head.predict_proba(source.read(score_rows))]
        # What is not of one head (reading, standardising, scoring) is shared out evenly.
        rest = max(time.perf_counter() - start - seconds.sum(), 0.0) / len(predictions)
        return TrialResult(
            decisions=np.stack([_stack(prediction, self.features) for prediction in predictions]),
            seconds=seconds + rest,
            n_parameters=np.array(n_parameters, dtype=np.int64),
            best_epoch=np.array(best_epoch, dtype=np.int64),
        )

    def spec(self, cell: Cell, trial: Trial, **changes: Any) -> HeadSpec:
        """Return what the engine is asked to train; ``changes`` are settings that come before all others."""
        from heads.mlp.config import MlpConfig
        from heads.mlp.engine import HeadSpec

        part = self.parts[trial.part]
        config = parse_config({**settings_of(cell.head, self.settings), **cell.settings, **changes})
        own = MlpConfig.from_mapping({**config.settings, "fusion": config.fusion})
        return HeadSpec(own, trial.seed, part.fit_rows, part.select_rows)

    def fit_pack(
        self,
        source: RowSource,
        targets: Targets,
        specs: Sequence[HeadSpec],
        *,
        columns: Columns,
        progress: EpochProgress | None = None,
    ) -> list[FittedNetwork]:
        """Fit ``mlp`` heads in one pass over the rows."""
        from heads.mlp.engine import fit_pack

        def report(place: int, record: Mapping[str, Any]) -> None:
            if progress is not None:
                progress(int(record["epoch"]))

        return fit_pack(
            source,
            targets,
            specs,
            tasks=self.features.tasks,
            columns=columns,
            device=self.device,
            memory=self.memory,
            progress=report,
        )

    def _fit_one(self, trial: Trial, source: RowSource, targets: Targets) -> Head:
        """Fit a head that has no pack; it learns from all views of its rows."""
        (cell,) = trial.cells
        part = self.parts[trial.part]
        config = parse_config({**settings_of(cell.head, self.settings), **cell.settings, "seed": trial.seed})
        shares_sums = cell.head == "linear" and config.settings["solver"] != "logistic" and source.n_views == 1
        if shares_sums and len(self.parts) > 1:
            if (cell, trial.seed) not in self._linear:
                self._linear.clear()  # of one configuration at a time
                self._linear[cell, trial.seed] = self._fit_linear(config, source, targets)
            return self._linear[cell, trial.seed][trial.part]
        head = build_head(self.features.tasks, config)
        return head.fit_rows(source, targets, part.fit_rows, part.select_rows, seed=trial.seed)

    def _fit_linear(self, config: TrainConfig, source: RowSource, targets: Targets) -> list[LinearHead]:
        """Fit ridge or LDA on all parts: the sums over rows that parts share are computed once."""
        from heads.linear.head import LinearConfig, LinearHead

        X = source.read(np.arange(source.n_rows))
        parts = [(part.fit_rows, part.select_rows) for part in self.parts]
        own = LinearConfig.from_mapping(config.settings)
        return LinearHead.fit_parts(X, targets, parts, tasks=self.features.tasks, config=own)

    def _name(self, trial: Trial) -> str:
        what = [[asdict(cell) for cell in trial.cells], trial.seed, trial.part]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def settings_of(head: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some settings that a kind of head has."""
    known = {"preset", "loss", *parse_config({"head": head}).settings}
    return {name: value for name, value in settings.items() if name in known}


def count_parameters(head: Head) -> int:
    """Count the learnt numbers in a head's safetensors, the standardisation left out; -1 where there are none."""
    from safetensors import safe_open

    with tempfile.TemporaryDirectory() as folder:
        head.save(Path(folder))
        total = 0
        for path in Path(folder).glob("*.safetensors"):
            with safe_open(path, framework="numpy") as tensors:
                names = [name for name in tensors.keys() if not name.startswith("scaler.")]  # noqa: SIM118
                learnt = [tensors.get_tensor(name) for name in names]
                total += sum(array.size for array in learnt if array.dtype.kind == "f")
    return total or -1


def _stack(prediction: Prediction, features: Features) -> NDArray[np.int16]:
    decisions = decide(prediction, features.tasks)
    return np.stack([decisions[task.name] for task in features.tasks]).astype(np.int16)
