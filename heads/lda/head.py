"""Linear discriminants that do not see how views of a picture differ: closed form, no labels of views needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from heads.data.row_source import ArrayRows, RowSource, read_views
from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.balance import task_weights
from heads.head.checks import check_fit_rows, check_labels
from heads.head.edges import edge_notes
from heads.head.linear_layers import Layer, LinearLayers
from heads.head.protocol import FloatArray, Prediction, Progress
from heads.head.saved import Description, read_description, write_description
from heads.head.scaling import check_features
from heads.head.view_differences import check_further
from heads.lda.config import LABELS, LdaConfig
from heads.lda.path import SelectRows, Strengths, fit_task
from heads.lda.rows import ViewMoments

__all__ = ["LdaHead"]


class LdaHead:
    """Gaussians a task with a covariance in common, which takes in the differences between views.

    Of the strengths of the config those are taken, a task, that its select rows prefer, as `heads.head.selecting` says;
    without select rows of the task, the middle ones. Where log loss decides, the grid is climbed from its middle: a
    step costs a factorisation. A class that never occurs in training gets probability 0. Nothing is random: ``seed`` is
    accepted and not used.

    Attributes
    ----------
    history_ : tuple of mapping
        One record a fit: ``task``, ``labels``, ``gamma``, ``shrinkage``, ``factor`` (the inverse temperature),
        ``score`` and ``select_loss`` (None without select rows of the task).
    strengths_ : mapping of task name to Strengths
        The chosen ones.
    """

    kind: ClassVar[str] = "lda"

    def __init__(self, tasks: Sequence[Task], config: LdaConfig | None = None) -> None:
        self.tasks = tuple(tasks)
        self.config = config or LdaConfig()
        self._history: tuple[Mapping[str, Any], ...] = ()

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """One record a fit; see the class."""
        return self._history

    @property
    def notes_(self) -> Sequence[str]:
        """Say which strengths stand at an edge of what there was to choose from."""
        notes = []
        for name, found in self.strengths_.items():
            notes += edge_notes(name, "gammas", found.gamma, self.config.gammas)
            notes += edge_notes(name, "shrinkages", found.shrinkage, self.config.shrinkages)
        return notes

    @property
    def n_parameters(self) -> int:
        """Coefficients and intercepts of all tasks."""
        return self._layers.n_parameters

    def fit(
        self,
        X: FloatArray,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Fit on ``X``, rows in one view; ``select`` chooses the strengths."""
        check_fit_rows(self.tasks, X, targets, select=select)
        return self._fit(ArrayRows(X), targets, np.arange(len(X)), select=select, progress=progress)

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
        """Fit on rows of a source, block by block, and choose on others, with all views of theirs in memory."""
        select = read_views(source, targets, select_rows)
        check_features(select[0], what="X of the select rows")
        check_labels(self.tasks, targets.select(fit_rows), select[1])
        return self._fit(source, targets, fit_rows, select=select, progress=progress)

    def _fit(
        self,
        source: RowSource,
        targets: Targets,
        rows: IntArray,
        *,
        select: tuple[FloatArray, Targets],
        progress: Progress | None,
    ) -> Self:
        check_further(source, self.config.invariant_to)
        history: list[Mapping[str, Any]] = []

        def report(record: Mapping[str, Any]) -> None:
            history.append(record)
            if progress is not None:
                progress(record)

        labels = self.config.labels if source.n_views > 1 else LABELS[:1]
        moments = ViewMoments(source, targets, rows, labels=labels)
        Z = moments.scaler.transform(select[0])
        layers: dict[str, Layer] = {}
        self.strengths_: dict[str, Strengths] = {}
        for task in self.tasks:
            chosen = select[1].applies[task.name]
            weights = task_weights(select[1], task, self.config.balance, rows=chosen)
            of_task = SelectRows(Z if chosen.all() else Z[chosen], select[1].y[task.name][chosen], weights)
            found = fit_task(task, moments, self.config, select=of_task, report=report)
            layers[task.name], self.strengths_[task.name] = found
        self._layers, self._history = LinearLayers(moments.scaler, layers), tuple(history)
        return self

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        return self._layers.predict(X, self.tasks)

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and ``weights.safetensors`` into an existing folder."""
        self._layers.write(folder, self.tasks)
        fitted = {"strengths": {name: asdict(value) for name, value in self.strengths_.items()}}
        n_features = len(self._layers.scaler.mean)
        description = Description(self.kind, self.tasks, n_features, asdict(self.config), self._history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, contents: Contents) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        found = read_description(contents, cls.kind)
        head = cls(found.tasks, LdaConfig.from_mapping(found.config))
        strengths: Any = found.fitted.get("strengths")
        if not isinstance(strengths, dict) or set(strengths) != {task.name for task in found.tasks}:
            raise HeadsError(f"{contents.folder} has fitted values {found.fitted!r:.80}, expected strengths a task")
        head.strengths_ = {name: Strengths.parse(value, str(contents.folder)) for name, value in strengths.items()}
        head._layers, head._history = LinearLayers.read(contents, found), found.history
        return head
