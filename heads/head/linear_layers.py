"""One linear layer a task on standardised columns: what kinds of heads that fit no more than that have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from heads.data.tasks import IntArray, Task
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.head.class_scores import Scores
from heads.head.protocol import FloatArray, Prediction
from heads.head.saved import Description, read_tensors, write_tensors
from heads.head.scaling import Standardizer, check_features, check_finite
from heads.head.task_scores import log_loss, task_score

__all__ = ["Layer", "LinearLayers"]

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Layer:
    """A fitted task: logits ``X @ coef.T + intercept`` of the classes ``present`` in training."""

    coef: FloatArray  # (1, d) for a binary task, else (number of classes, d)
    intercept: FloatArray
    present: NDArray[np.bool_]  # (number of classes,)

    @classmethod
    def build(cls, task: Task, present: IntArray, scores: Scores) -> Self:
        """Return the layer of a task.

        Parameters
        ----------
        task : Task
        present : int array (k,)
            The classes that occur in training, ascending.
        scores : (float array (k, d), float array (k,))
            Coefficients and intercepts, one a class that is present; of two classes those of the second will do.
        """
        found, bias = scores
        coef = np.zeros((task.n_logits, found.shape[1]), dtype=np.float32)
        intercept = np.zeros(task.n_logits, dtype=np.float32)
        if len(present) == 2 == len(found):
            # One logit of two classes is the second one's; the first one's stays 0.
            found, bias = found[1:] - found[:1], bias[1:] - bias[:1]
        kept = present[-len(found) :] if task.kind == "multiclass" else np.array([0])
        coef[kept], intercept[kept] = found, bias
        return cls(coef, intercept, np.isin(np.arange(len(task.classes)), present))

    def proba(self, X: FloatArray, *, binary: bool) -> FloatArray:
        """Return the class probabilities of standardised rows, as in `heads.head.protocol.Prediction`."""
        # Weights of a file may be of any size: what is not finite then is told from the result.
        with np.errstate(over="ignore", invalid="ignore"):
            logits = (X @ self.coef.T + self.intercept).astype(np.float64)
            if binary:
                return np.asarray(expit(logits[:, 0]), dtype=np.float32)
            logits[:, ~self.present] = -np.inf
            return np.asarray(softmax(logits, axis=1), dtype=np.float32)

    def score(
        self, task: Task, X: FloatArray, y: IntArray, *, weights: NDArray[np.float64] | None = None
    ) -> dict[str, float | None]:
        """Return ``score`` and ``select_loss`` on standardised select rows of the task; None for each without rows.

        The loss is that of `log_loss`, with ``weights`` of the rows where the head is fitted with such.
        """
        if len(y) == 0:
            return {"score": None, "select_loss": None}
        proba = self.proba(X, binary=task.kind == "binary")
        return {"score": task_score(task, y, proba), "select_loss": log_loss(task, y, proba, weights=weights)}


@dataclass(frozen=True)
class LinearLayers:
    """The layers of a head, and how columns are standardised for them.

    Attributes
    ----------
    scaler : Standardizer
    of_task : mapping of task name to Layer
    """

    scaler: Standardizer
    of_task: Mapping[str, Layer]

    @property
    def n_parameters(self) -> int:
        """Coefficients and intercepts of all tasks."""
        return sum(layer.coef.size + layer.intercept.size for layer in self.of_task.values())

    def predict(self, X: FloatArray, tasks: tuple[Task, ...]) -> Prediction:
        """Return the class probabilities of raw rows (n, d)."""
        check_features(X, n_features=len(self.scaler.mean))
        Z = self.scaler.transform(X)
        proba = {task.name: self.of_task[task.name].proba(Z, binary=task.kind == "binary") for task in tasks}
        for name, values in proba.items():
            check_finite(values, f"the prediction of task {name!r}")
        return Prediction(proba)

    def write(self, folder: Path, tasks: tuple[Task, ...]) -> None:
        """Write ``weights.safetensors`` into an existing folder."""
        arrays: dict[str, Any] = {f"scaler.{name}": value for name, value in vars(self.scaler).items()}
        for place, task in enumerate(tasks):
            for name, value in vars(self.of_task[task.name]).items():
                arrays[f"{place}.{name}"] = value
        write_tensors(folder / _WEIGHTS, arrays)

    @classmethod
    def read(cls, contents: Contents, found: Description) -> Self:
        """Read what `write` wrote, of a head of this description; the folder is untrusted."""
        d = found.n_features
        expected: dict[str, Any] = {f"scaler.{name}": (np.float64, (d,)) for name in ("mean", "inverse_scale")}
        for place, task in enumerate(found.tasks):
            expected[f"{place}.coef"] = (np.float32, (task.n_logits, d))
            expected[f"{place}.intercept"] = (np.float32, (task.n_logits,))
            expected[f"{place}.present"] = (np.bool_, (len(task.classes),))
        arrays = read_tensors(contents, _WEIGHTS, expected)
        layers = {
            task.name: Layer(*(arrays[f"{place}.{name}"] for name in ("coef", "intercept", "present")))
            for place, task in enumerate(found.tasks)
        }
        if not all(layer.present.any() for layer in layers.values()):
            raise HeadsError(f"{contents.folder / _WEIGHTS} has a task without a class present")
        return cls(Standardizer(arrays["scaler.mean"], arrays["scaler.inverse_scale"]), layers)
