"""Linear classifiers on the standardised vectors: the baseline that every other head has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from heads.data.row_source import ArrayRows, RowSource, read_views
from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.ranges import Range
from heads.head.balance import check_balance
from heads.head.checks import check_fit_rows, check_parts
from heads.head.edges import edge_notes
from heads.head.linear_layers import Layer, LinearLayers
from heads.head.protocol import FloatArray, Prediction, Progress
from heads.head.saved import Description, check_settings, read_description, write_description
from heads.head.shared_moments import PartMoments, SharedMoments
from heads.head.view_differences import check_further, check_names, measure_differences
from heads.linear.path import SOLVERS, choose, solve_path
from heads.linear.rows import LinearRows

__all__ = ["LinearConfig", "LinearHead"]

_STRENGTH = Range(float, 1e-12, 1e12)
_INVARIANCE = Range(float, 0, 1e6)
_MAX_ITER = Range(int, 1, 10**6)


@dataclass(frozen=True)
class LinearConfig:
    """How a `LinearHead` is fitted.

    Attributes
    ----------
    solver : {"logistic", "ridge", "lda"}
        ``logistic``: binary or multinomial logistic regression, the best of the three as a rule. ``ridge``: least
        squares on one-hot targets. ``lda``: Gaussians with one shrunk covariance. The last two read the rows once,
        whatever the number of strengths and of folds; a softmax whose temperature is fitted on the select rows makes
        their scores probabilities.
    strengths : tuple of float
        Values of scikit-learn's ``C`` to choose from; a lower one regularises more. Those above 1 are tried one after
        another, as long as each is better than all before it. ``ridge`` and ``lda`` are
        regularised as if ``1 / C`` more rows had been seen that vary alike in every direction.
    max_iter : int
        Bound on the iterations of one fit of ``logistic``.
    balance : {"none", "class", "origin"}
        What weighs the same in the loss of ``logistic`` (`heads.head.balance`).
    invariances : tuple of float
        Of ``logistic``, to choose from: the penalty is ``coef^T (I + invariance * differences) coef / (2 C)``, with the
        mean outer product of what a row is in a view less what it is in the clean one. The middle one is taken where
        the clean view alone is trained on: rows of it cannot choose.
    invariant_to : tuple of str
        Names of views that show no more than how views differ: neither their labels nor their scores are used.
    """

    solver: str = "logistic"
    strengths: tuple[float, ...] = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    max_iter: int = 500
    balance: str = "none"
    invariances: tuple[float, ...] = (0.0,)
    invariant_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.solver, str) or self.solver not in SOLVERS:
            raise HeadsError(f"solver is {self.solver!r:.80}, expected one of {', '.join(SOLVERS)}")
        if not self.strengths or len(self.strengths) > 1000 or not all(map(_STRENGTH.holds, self.strengths)):
            raise HeadsError(f"strengths are {self.strengths!r:.80}, expected 1 to 1000 times {_STRENGTH}")
        _MAX_ITER.check(self.max_iter, "max_iter")
        check_balance(self.balance)
        if self.balance != "none" and self.takes_moments:
            raise HeadsError(f"balance is {self.balance!r}, solver {self.solver!r} has 'none' alone: take 'logistic'")
        if not 0 < len(self.invariances) <= 1000 or not all(map(_INVARIANCE.holds, self.invariances)):
            raise HeadsError(f"invariances are {self.invariances!r:.80}, expected 1 to 1000 times {_INVARIANCE}")
        check_names(self.invariant_to)
        if self.takes_moments and any(self.invariances):
            raise HeadsError(
                f"invariances are of solver logistic, solver is {self.solver!r}: expected [0] or --head lda"
            )
        if self.invariant_to and not any(self.invariances):
            raise HeadsError("invariant_to needs invariances above 0: --set invariances=[3], or --head lda")

    @property
    def takes_moments(self) -> bool:
        """Whether the solver asks for no more of the rows than their moments."""
        return self.solver != "logistic"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="linear")
        lists = {"strengths": "numbers", "invariances": "numbers", "invariant_to": "views"}
        for name in lists.keys() & values.keys():
            if not isinstance(values[name], list | tuple):
                raise HeadsError(f"{name} are {values[name]!r:.80}, expected a list of {lists[name]}")
            values = {**values, name: tuple(values[name])}
        return cls(**values)


class LinearHead:
    """One linear layer a task: binary for A, over the AI rows and their generators for B.

    The strength is chosen a task, on its select rows, as `heads.head.selecting` says; of equal ones the strongest
    regularisation; without select rows of the task, the middle one. A class that never occurs in training gets
    probability 0. Nothing is random: ``seed`` is accepted and not used.

    Attributes
    ----------
    history_ : tuple of mapping
        One record a fit: ``task``, ``strength``, ``invariance``, ``score`` and ``select_loss`` (None without select
        rows of the task), and ``iterations`` and ``converged`` of ``logistic`` or ``factor``, the inverse
        temperature, of ``ridge`` and ``lda``.
    strengths_ : mapping of task name to float
        The chosen ones.
    """

    kind: ClassVar[str] = "linear"

    def __init__(self, tasks: Sequence[Task], config: LinearConfig | None = None) -> None:
        self.tasks = tuple(tasks)
        self.config = config or LinearConfig()
        self._history: tuple[Mapping[str, Any], ...] = ()

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """One record a fit; see the class."""
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
        """Fit on ``X``, rows in one view; ``select`` chooses the strengths."""
        check_fit_rows(self.tasks, X, targets, select=select)
        check_further(ArrayRows(X), self.config.invariant_to)
        rows = LinearRows(self._given(X, targets), targets, select=select, balance=self.config.balance)
        return self._fit(rows, progress)

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
        """Fit on rows of a source, and choose on others, with all views of theirs in memory."""
        check_further(source, self.config.invariant_to)
        X, y = read_views(source, targets, fit_rows)
        select = read_views(source, targets, select_rows)
        check_fit_rows(self.tasks, X, y, select=select)
        rows = LinearRows(
            self._given(X, y),
            y,
            select=select,
            n_views=source.n_views,
            measure=partial(measure_differences, source, fit_rows),
            balance=self.config.balance,
        )
        return self._fit(rows, progress)

    @classmethod
    def fit_parts(
        cls,
        X: FloatArray,
        targets: Targets,
        parts: Sequence[tuple[IntArray, IntArray]],
        *,
        tasks: Sequence[Task],
        config: LinearConfig | None = None,
        progress: Progress | None = None,
    ) -> list[Self]:
        """Fit one head a part, as `fit` would; ``ridge`` and ``lda`` read rows that parts share once.

        Parameters
        ----------
        X : float32 array (n, d)
        targets : Targets
        parts : sequence of (int array, int array)
            Rows of ``X`` to learn from and rows to choose the strengths on, e.g. of each fold. Nothing else of
            ``X`` or of the targets, not even its mean, reaches a part's head.
        tasks, config, progress
            As of a head and its `fit`.
        """
        heads = [cls(tasks, config) for _ in parts]
        if not heads:
            return []
        check_parts(heads[0].tasks, X, targets, parts)
        shared = heads[0]._measure(X, targets, [rows for rows, _ in parts])
        for part, (head, (rows, chosen)) in enumerate(zip(heads, parts, strict=True)):
            # What moments say of the rows is all that their solvers ask for: no copy of them.
            given = PartMoments(shared, part) if shared else X[rows]
            select = X[chosen], targets.select(chosen)
            own = LinearRows(given, targets.select(rows), select=select, balance=head.config.balance)
            head._fit(own, progress)
        return heads

    def _given(self, X: FloatArray, targets: Targets) -> FloatArray | PartMoments:
        shared = self._measure(X, targets, [np.arange(len(X))])
        return PartMoments(shared, 0) if shared else X

    def _measure(self, X: FloatArray, targets: Targets, parts: Sequence[IntArray]) -> SharedMoments | None:
        return SharedMoments(X, targets, parts) if self.config.takes_moments else None

    def _fit(self, rows: LinearRows, progress: Progress | None) -> Self:
        history: list[Mapping[str, Any]] = []
        layers: dict[str, Layer] = {}
        self.strengths_: dict[str, float] = {}
        settings = asdict(self.config) | {"invariances": self._invariances(rows)}
        del settings["invariant_to"], settings["balance"]  # what the rows know
        for task in self.tasks:
            steps = []
            for layer, record in solve_path(rows, task, **settings):
                steps.append((layer, record))
                history.append(record)
                if progress is not None:
                    progress(record)
            layers[task.name], best = choose(task, steps, n_views=rows.n_views)
            self.strengths_[task.name] = best["strength"]
        self._layers, self._history = LinearLayers(rows.scaler, layers), tuple(history)
        return self

    def _invariances(self, rows: LinearRows) -> Sequence[float]:
        """Return those of the config that can be chosen from."""
        found = sorted(set(self.config.invariances))
        if not any(found) or rows.differences is None:
            return [0.0]
        return found if rows.n_views > 1 else [found[len(found) // 2]]

    @property
    def notes_(self) -> Sequence[str]:
        """Say which tasks took the strongest or the weakest regularisation that was tried."""
        notes: list[str] = []
        for name, best in self.strengths_.items():
            records = [record for record in self._history if record["task"] == name]
            if all(record["score"] is not None for record in records):
                notes += edge_notes(name, "strengths", best, [record["strength"] for record in records])
        return notes

    @property
    def n_parameters(self) -> int:
        """Coefficients and intercepts of all tasks."""
        return self._layers.n_parameters

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        return self._layers.predict(X, self.tasks)

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and ``weights.safetensors`` into an existing folder."""
        self._layers.write(folder, self.tasks)
        n_features, config, fitted = len(self._layers.scaler.mean), asdict(self.config), {"strengths": self.strengths_}
        description = Description(self.kind, self.tasks, n_features, config, self._history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, contents: Contents) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        folder, found = contents.folder, read_description(contents, cls.kind)
        head = cls(found.tasks, LinearConfig.from_mapping(found.config))
        strengths: Any = found.fitted.get("strengths")
        if not _has_strengths(strengths, found.tasks):
            raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected a strength a task")
        head._layers = LinearLayers.read(contents, found)
        head.strengths_, head._history = strengths, found.history
        return head


def _has_strengths(strengths: Any, tasks: Sequence[Task]) -> bool:
    if not isinstance(strengths, dict) or set(strengths) != {task.name for task in tasks}:
        return False
    return all(map(_STRENGTH.holds, strengths.values()))
