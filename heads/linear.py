"""Logistic regression on the standardised vectors: the baseline that every other head has to beat."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from heads.errors import HeadsError
from heads.head import FloatArray, Prediction, Progress
from heads.registry import Description, check_settings, read_description, read_tensors, write_description, write_tensors
from heads.scaling import Standardizer, check_features, check_finite
from heads.selection import check_fit_rows, task_score
from heads.tasks import IntArray, Targets, Task

__all__ = ["LinearConfig", "LinearHead"]

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class LinearConfig:
    """How a `LinearHead` is fitted.

    Attributes
    ----------
    strengths : tuple of float
        Values of scikit-learn's ``C`` to choose from; a lower one regularises more.
    max_iter : int
        Bound on the iterations of one fit.
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    max_iter: int = 500

    def __post_init__(self) -> None:
        def is_strength(value: Any) -> bool:
            return type(value) in (int, float) and 0 < value < float("inf")

        if not self.strengths or not all(is_strength(value) for value in self.strengths):
            raise HeadsError(f"strengths are {self.strengths!r}, expected positive finite numbers")
        if type(self.max_iter) is not int or not 1 <= self.max_iter <= 10**6:
            raise HeadsError(f"max_iter is {self.max_iter!r}, expected a whole number from 1 to 1000000")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="linear")
        if "strengths" in values:
            if not isinstance(values["strengths"], list | tuple):
                raise HeadsError(f"strengths are {values['strengths']!r:.80}, expected a list of numbers")
            values = {**values, "strengths": tuple(values["strengths"])}
        return cls(**values)


@dataclass(frozen=True)
class _Layer:
    """A fitted task: logits ``X @ coef.T + intercept`` of the classes ``present`` in training."""

    coef: FloatArray  # (1, d) for a binary task, else (number of classes, d)
    intercept: FloatArray
    present: NDArray[np.bool_]  # (number of classes,)

    def proba(self, X: FloatArray, *, binary: bool) -> FloatArray:
        logits = (X @ self.coef.T + self.intercept).astype(np.float64)
        if binary:
            return np.asarray(expit(logits[:, 0]), dtype=np.float32)
        logits[:, ~self.present] = -np.inf
        return np.asarray(softmax(logits, axis=1), dtype=np.float32)


class LinearHead:
    """One logistic regression a task: binary for A, multinomial over the AI rows for B; L2, L-BFGS.

    The strength ``C`` is chosen a task, on its select rows: best `task_score`, then lowest log loss, then the
    strongest regularisation; without select rows of the task, the middle one. A class that never occurs in
    training gets probability 0. Nothing is random: ``seed`` is accepted and not used.

    Attributes
    ----------
    history_ : tuple of mapping
        One record a fit: ``task``, ``strength``, ``iterations``, ``converged``, ``score`` and ``select_loss``
        (None without select rows of the task).
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
        """Fit on ``X``; ``select`` chooses the strengths."""
        check_fit_rows(self.tasks, X, targets, select=select)
        labelled = np.any([targets.applies[task.name] for task in self.tasks], axis=0)
        self._scaler = Standardizer.fit(X[labelled])
        X, X_select = self._scaler.transform(X), self._scaler.transform(select[0])
        history: list[Mapping[str, Any]] = []
        self._layers: dict[str, _Layer] = {}
        self.strengths_: dict[str, float] = {}
        for task in self.tasks:
            rows, chosen = targets.applies[task.name], select[1].applies[task.name]
            steps = []
            for layer, record in _fit_path(task, X[rows], targets.y[task.name][rows], config=self.config):
                record |= _score(task, layer, X_select[chosen], select[1].y[task.name][chosen])
                steps.append((layer, record))
                history.append(record)
                if progress is not None:
                    progress(record)
            self._layers[task.name], best = _choose(steps)
            self.strengths_[task.name] = best["strength"]
        self._history = tuple(history)
        return self

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        check_features(X, n_features=len(self._scaler.mean))
        X = self._scaler.transform(X)
        proba = {task.name: self._layers[task.name].proba(X, binary=task.kind == "binary") for task in self.tasks}
        for name, values in proba.items():
            check_finite(values, f"the prediction of task {name!r}")
        return Prediction(proba)

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and ``weights.safetensors`` into an existing folder."""
        arrays: dict[str, Any] = {
            "scaler.mean": self._scaler.mean,
            "scaler.inverse_scale": self._scaler.inverse_scale,
        }
        for place, task in enumerate(self.tasks):
            for name, value in vars(self._layers[task.name]).items():
                arrays[f"{place}.{name}"] = value
        write_tensors(folder / _WEIGHTS, arrays)
        n_features, config, fitted = len(self._scaler.mean), asdict(self.config), {"strengths": self.strengths_}
        description = Description(self.kind, self.tasks, n_features, config, self._history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        found = read_description(folder, cls.kind)
        head = cls(found.tasks, LinearConfig.from_mapping(found.config))
        strengths: Any = found.fitted.get("strengths")
        if not _has_strengths(strengths, found.tasks):
            raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected a strength a task")
        expected: dict[str, Any] = {
            f"scaler.{name}": (np.float64, (found.n_features,)) for name in ("mean", "inverse_scale")
        }
        for place, task in enumerate(found.tasks):
            expected[f"{place}.coef"] = (np.float32, (task.n_logits, found.n_features))
            expected[f"{place}.intercept"] = (np.float32, (task.n_logits,))
            expected[f"{place}.present"] = (np.bool_, (len(task.classes),))
        arrays = read_tensors(folder / _WEIGHTS, expected)
        head._scaler = Standardizer(arrays["scaler.mean"], arrays["scaler.inverse_scale"])
        head._layers = {
            task.name: _Layer(*(arrays[f"{place}.{name}"] for name in ("coef", "intercept", "present")))
            for place, task in enumerate(found.tasks)
        }
        if not all(layer.present.any() for layer in head._layers.values()):
            raise HeadsError(f"{folder / _WEIGHTS} has a task without a class present")
        head.strengths_, head._history = strengths, found.history
        return head


def _fit_path(
    task: Task, X: FloatArray, y: IntArray, *, config: LinearConfig
) -> Iterator[tuple[_Layer, dict[str, Any]]]:
    """Fit from the strongest regularisation to the weakest, each from where the last one ended."""
    present = np.isin(np.arange(len(task.classes)), y)
    model = LogisticRegression(max_iter=config.max_iter, warm_start=True)
    for strength in sorted(config.strengths):
        coef = np.zeros((task.n_logits, X.shape[1]), dtype=np.float32)
        intercept = np.zeros(task.n_logits, dtype=np.float32)
        converged, iterations = True, 0
        if present.sum() > 1:
            converged = _fit_quietly(model.set_params(C=strength), X, y)
            iterations = int(model.n_iter_.max())
            # Of two classes scikit-learn keeps one logit, the second class's; the first one's stays 0.
            kept = np.flatnonzero(present)[-len(model.coef_) :] if task.kind == "multiclass" else [0]
            coef[kept], intercept[kept] = model.coef_, model.intercept_
        record = {"task": task.name, "strength": strength, "iterations": iterations, "converged": converged}
        yield _Layer(coef, intercept, present), record


def _fit_quietly(model: LogisticRegression, X: FloatArray, y: IntArray) -> bool:
    """Fit, and return whether it converged instead of warning about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _score(task: Task, layer: _Layer, X: FloatArray, y: IntArray) -> dict[str, float | None]:
    """Score a fit on select rows of its task; None without rows."""
    if len(y) == 0:
        return {"score": None, "select_loss": None}
    proba = layer.proba(X, binary=task.kind == "binary")
    both = np.column_stack([1 - proba, proba]) if task.kind == "binary" else proba
    picked = np.maximum(both[np.arange(len(y)), y].astype(np.float64), np.finfo(np.float32).tiny)
    return {"score": task_score(task, y, proba), "select_loss": float(-np.log(picked).mean())}


def _has_strengths(strengths: Any, tasks: Sequence[Task]) -> bool:
    if not isinstance(strengths, dict) or set(strengths) != {task.name for task in tasks}:
        return False
    return all(type(value) in (int, float) for value in strengths.values())


def _choose(steps: Sequence[tuple[_Layer, dict[str, Any]]]) -> tuple[_Layer, dict[str, Any]]:
    if steps[0][1]["score"] is None:
        return steps[len(steps) // 2]
    return max(steps, key=lambda step: (step[1]["score"], -step[1]["select_loss"]))
