"""Gradient-boosted trees (LightGBM) over principal components: one model for A, a conditional one for B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from heads.data.row_source import RowSource, read_views
from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.ranges import Range
from heads.gbdt.boosting import BinnedColumns, TreeModel, count_threads
from heads.gbdt.config import GbdtConfig
from heads.gbdt.lightgbm_text import decode_model_text
from heads.gbdt.principal import Principal
from heads.head.checks import check_fit_rows
from heads.head.protocol import FloatArray, Prediction, Progress
from heads.head.saved import Description, read_description, read_tensors, write_description, write_tensors
from heads.head.scaling import check_features

__all__ = ["GbdtConfig", "GbdtHead"]

_MAX_TEXT = 256 * 2**20
_COMPONENTS = "components.safetensors"
_ROUNDS = Range(int, 0, 10_000)


class GbdtHead:
    """One LightGBM model a task, stopped early by the log loss of its select rows in all views.

    A class that never occurs in training gets probability 0, and its select rows do not take part in stopping; with
    one class in training that class gets 1. Without select rows of a task, all rounds are kept. LightGBM prints
    nothing.

    Attributes
    ----------
    history_ : tuple of mapping
        One record a round and task: ``task``, ``round`` (from 1), ``select_loss``, None where the task has no select
        rows, and ``n_splits``, of all trees up to this round. None of a task without a booster.
    best_rounds_ : mapping of task name to int
        Rounds kept; 0 where a task has no booster.
    """

    kind: ClassVar[str] = "gbdt"

    def __init__(self, tasks: Sequence[Task], config: GbdtConfig | None = None) -> None:
        self.tasks = tuple(tasks)
        self.config = config or GbdtConfig()
        self._history: tuple[Mapping[str, Any], ...] = ()

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """One record a round; see the class."""
        return self._history

    def fit(
        self,
        X: FloatArray,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit on ``X``; ``select`` chooses the numbers of rounds."""
        check_fit_rows(self.tasks, X, targets, select=select)
        labelled = targets.labelled
        X, targets = (X, targets) if labelled.all() else (X[labelled], targets.select(labelled))
        bins = BinnedColumns(X, self.config, seed=seed)
        return self._fit(bins, targets, select=select, seed=seed, progress=progress)

    def fit_rows(
        self,
        source: RowSource,
        targets: Targets,
        fit_rows: IntArray,
        select_rows: IntArray,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit on rows of a source, and stop by others, with all views of theirs in memory."""
        X, y = read_views(source, targets, fit_rows)
        select = read_views(source, targets, select_rows)
        return self.fit(X, y, select=select, seed=seed, progress=progress)

    def _fit(
        self,
        bins: BinnedColumns,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        seed: int,
        progress: Progress | None,
    ) -> Self:
        history: list[Mapping[str, Any]] = []

        def record(task: str, round_: int, select_loss: float | None, n_splits: int) -> None:
            history.append({"task": task, "round": round_, "select_loss": select_loss, "n_splits": n_splits})
            if progress is not None:
                progress(history[-1])

        self._n_features, self._principal = bins.n_features, bins.principal
        reduced = self._reduce(select[0])
        self._models: dict[str, TreeModel] = {}
        for task in self.tasks:
            self._models[task.name] = bins.boost(
                task, targets, select=(reduced, select[1]), seed=seed, record=partial(record, task.name)
            )
        self._history = tuple(history)
        return self

    @property
    def best_rounds_(self) -> dict[str, int]:
        """Rounds kept of each task."""
        return {name: model.booster.current_iteration() if model.booster else 0 for name, model in self._models.items()}

    @property
    def notes_(self) -> Sequence[str]:
        """Say whether components stand in for columns, and which boosters never split."""
        notes = []
        if self._principal is not None:
            d, k = self._principal.axes.shape
            notes.append(
                f"trees learn from {k:,} principal components of {d:,} columns: --set components=0 gives them all "
                "columns, and takes longer"
            )
        for name, model in self._models.items():
            if model.booster and not model.n_splits:
                notes.append(
                    f"no tree of task {name!r} splits, all rows get the same probabilities: "
                    "--set min_data_in_leaf=1 lets leaves have a single row"
                )
        return tuple(notes)

    @property
    def n_parameters(self) -> None:
        """None: trees have no parameters that could be counted."""
        return None

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        check_features(X, n_features=self._n_features)
        reduced = self._reduce(X)
        threads = count_threads(self.config, reduced)
        models = ((task, self._models[task.name]) for task in self.tasks)
        return Prediction({task.name: model.proba(reduced, task=task, num_threads=threads) for task, model in models})

    def _reduce(self, X: FloatArray) -> FloatArray:
        return X if self._principal is None else self._principal.transform(X)

    def save(self, folder: Path) -> None:
        """Write ``head.json``, a ``model-N.txt`` for each task with a booster, and the components if there are any."""
        for place, task in enumerate(self.tasks):
            text = self._models[task.name].text
            if text is not None:
                (folder / f"model-{place}.txt").write_text(text, encoding="ascii")
        present = {task.name: list(self._models[task.name].present) for task in self.tasks}
        n_components = 0
        if self._principal is not None:
            n_components = self._principal.axes.shape[1]
            write_tensors(folder / _COMPONENTS, {f"scaler.{k}": v for k, v in vars(self._principal).items()})
        fitted = {"present": present, "best_rounds": self.best_rounds_, "n_components": n_components}
        config = asdict(self.config)
        description = Description(self.kind, self.tasks, self._n_features, config, self._history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, contents: Contents) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        folder, found = contents.folder, read_description(contents, cls.kind)
        head = cls(found.tasks, GbdtConfig.from_mapping(found.config))
        present: Any = found.fitted.get("present")
        names = {"present", "best_rounds", "n_components"}
        # Version 0.1.0 knew no components and did not say so.
        if set(found.fitted) | {"n_components"} != names or not _has_keys(present, found.tasks):
            raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected {', '.join(sorted(names))}")
        head._n_features, head._history = found.n_features, found.history
        head._principal = _read_principal(contents, found.fitted.get("n_components", 0), n_features=found.n_features)
        n_columns = found.n_features if head._principal is None else head._principal.axes.shape[1]
        head._models = {}
        for place, task in enumerate(found.tasks):
            codes = _parse_present(present.get(task.name), task, folder)
            text = None
            if len(codes) > 1:
                text = decode_model_text(contents.read(f"model-{place}.txt", limit=_MAX_TEXT))
            head._models[task.name] = TreeModel.build(codes, text, task=task, n_features=n_columns)
        if not _has_rounds(found.fitted["best_rounds"], found.tasks):
            raise HeadsError(f"{folder} has best_rounds {found.fitted['best_rounds']!r:.80}, expected {_ROUNDS} a task")
        return head


def _read_principal(contents: Contents, n_components: Any, *, n_features: int) -> Principal | None:
    Range(int, 0, n_features - 1).check(n_components, f"n_components of {contents.folder}")
    if n_components == 0:
        return None
    shapes = {"mean": (n_features,), "axes": (n_features, n_components)}
    expected = {f"scaler.{name}": (np.float32, shape) for name, shape in shapes.items()}
    arrays = read_tensors(contents, _COMPONENTS, expected)
    return Principal(**{name: arrays[f"scaler.{name}"] for name in shapes})


def _has_rounds(rounds: Any, tasks: Sequence[Task]) -> bool:
    return _has_keys(rounds, tasks) and all(map(_ROUNDS.holds, rounds.values()))


def _has_keys(present: Any, tasks: Sequence[Task]) -> bool:
    return isinstance(present, dict) and set(present) == {task.name for task in tasks}


def _parse_present(codes: Any, task: Task, folder: Path) -> list[int]:
    n_classes = len(task.classes)
    code_range = Range(int, 0, n_classes - 1)
    is_codes = isinstance(codes, list) and len(codes) > 0 and all(map(code_range.holds, codes))
    if not is_codes or codes != sorted(set(codes)):
        raise HeadsError(f"{folder} has {codes!r:.80} as classes of task {task.name!r}, expected rising codes")
    if task.kind == "binary" and len(codes) != 2:
        raise HeadsError(f"{folder} has {len(codes)} class of binary task {task.name!r}, expected 2")
    return list(codes)
