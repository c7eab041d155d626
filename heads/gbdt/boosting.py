"""Boosting with LightGBM: columns that are binned once, a model for each task, nothing printed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from heads.data.tasks import IntArray, Targets, Task
from heads.errors import HeadsError
from heads.gbdt.config import GbdtConfig
from heads.gbdt.lightgbm_text import check_model_text
from heads.gbdt.principal import Principal
from heads.head.balance import task_weights
from heads.head.protocol import FloatArray
from heads.head.task_scores import log_loss

__all__ = ["BinnedColumns", "TreeModel", "count_threads"]

Record = Callable[[int, float | None, int], None]

_SMALL = 2**20  # values of a matrix
_BINNED_ROWS = 10_000  # that LightGBM looks at for the edges of its bins
_NOT_OF_BINS = ("rounds", "patience", "components", "num_threads", "min_data_in_leaf", "balance")


@dataclass(frozen=True)
class TreeModel:
    """A fitted task: the classes present in training, and a booster over them unless there is only one."""

    present: tuple[int, ...]
    text: str | None
    booster: lgb.Booster | None

    @classmethod
    def build(cls, present: Sequence[int], text: str | None, *, task: Task, n_features: int) -> Self:
        """Check an untrusted text and make it a booster; None stands for no booster."""
        if text is None:
            return cls(tuple(present), None, None)
        n_classes = 1 if task.kind == "binary" else len(present)
        text = check_model_text(text, n_features, n_classes=n_classes)
        try:
            booster = lgb.Booster(model_str=text)
        except lgb.basic.LightGBMError as error:
            raise HeadsError(f"the model of task {task.name!r} is not one that LightGBM reads: {error}") from error
        return cls(tuple(present), text, booster)

    @property
    def n_splits(self) -> int:
        """Splits of all trees; 0 stands for a model that says the same of every row."""
        return _count_splits(self.booster) if self.booster else 0

    def proba(self, X: FloatArray, *, task: Task, num_threads: int) -> FloatArray:
        """Return the class probabilities of rows (n, d), as in `heads.head.protocol.Prediction`."""
        shape = (len(X),) if task.kind == "binary" else (len(X), len(task.classes))
        proba = np.zeros(shape, dtype=np.float32)
        if len(X) == 0:
            return proba
        found = self.booster.predict(X, num_threads=num_threads) if self.booster else np.ones((len(X), 1))
        if task.kind == "binary":
            proba[:] = found
        else:
            proba[:, self.present] = found
        return proba


class BinnedColumns:
    """Columns in bins, once for every task: each learns from some of the rows.

    Parameters
    ----------
    X : float32 array (n, d)
        Rows that learn; the components, if any, and the edges of the bins come from these.
    config : GbdtConfig
    seed : int
    """

    def __init__(self, X: FloatArray, config: GbdtConfig, *, seed: int) -> None:
        self._config, self.n_features = config, X.shape[1]
        self.principal: Principal | None = None
        n_components = config.components_for(X.shape)
        if n_components:
            self.principal = Principal.fit(X, n_components, seed=seed)
            X = self.principal.transform(X)
        self.n_columns = X.shape[1]
        self._params = {name: value for name, value in asdict(config).items() if name not in _NOT_OF_BINS}
        self._params |= {"num_threads": count_threads(config, X), "bin_construct_sample_cnt": _BINNED_ROWS}
        self._params |= {"deterministic": True, "force_col_wise": True, "verbosity": -1}
        self._params["feature_pre_filter"] = False  # would fix the least rows of a leaf for all tasks
        self._dataset = lgb.Dataset(X, np.zeros(len(X)), params=self._params).construct()

    def boost(
        self,
        task: Task,
        targets: Targets,
        *,
        select: tuple[FloatArray, Targets],
        seed: int,
        record: Record,
    ) -> TreeModel:
        """Fit a task on the rows to which it applies; stop by the log loss of its select rows, if there are any.

        ``record`` is called with each round, from 1, its loss, and the splits of all trees up to it.
        """
        rows = np.flatnonzero(targets.applies[task.name])
        y = targets.y[task.name][rows]
        present = np.unique(y)
        if len(present) == 1:
            return TreeModel.build(present.tolist(), None, task=task, n_features=self.n_columns)
        params = {**self._params, **_objective(task, n_classes=len(present)), "seed": seed % 2**31}
        params["min_data_in_leaf"] = self._config.leaf_rows_for(len(y))
        dataset = self._dataset.subset(rows.tolist(), params=self._params).construct()
        dataset.set_label(np.searchsorted(present, y))
        dataset.set_weight(task_weights(targets, task, self._config.balance, rows=rows))

        def report(env: lgb.callback.CallbackEnv) -> None:
            results = env.evaluation_result_list
            assert isinstance(env.model, lgb.Booster)
            record(env.iteration + 1, float(results[0][2]) if results else None, _count_splits(env.model))

        callbacks: list[Callable[..., Any]] = [report]
        valid, evaluate = [], None
        known = np.flatnonzero(select[1].applies[task.name] & np.isin(select[1].y[task.name], present))
        if len(known):
            labels = np.searchsorted(present, select[1].y[task.name][known])
            weights = task_weights(select[1], task, self._config.balance, rows=known)
            valid = [lgb.Dataset(select[0][known], labels, reference=dataset, params=params)]
            evaluate = partial(_measure, task, labels, None if weights is None else weights / weights.mean())
            callbacks.append(lgb.early_stopping(self._config.patience, verbose=False))
        booster = lgb.train(params, dataset, self._config.rounds, valid_sets=valid, feval=evaluate, callbacks=callbacks)
        text = booster.model_to_string(num_iteration=booster.best_iteration or -1)
        return TreeModel.build(present.tolist(), text, task=task, n_features=self.n_columns)


def count_threads(config: GbdtConfig, X: FloatArray) -> int:
    """Return how many threads are worth it for a matrix."""
    # LightGBM waits for all its threads a thousand times a second: on a busy machine a fit of 800 x 24 values took
    # 25 s with two threads and 0.07 s with one.
    return 1 if X.size < _SMALL else min(config.num_threads, os.cpu_count() or 1)


def _count_splits(booster: lgb.Booster) -> int:
    return int(booster.feature_importance("split").sum())


def _objective(task: Task, *, n_classes: int) -> dict[str, Any]:
    if task.kind == "binary":
        return {"objective": "binary", "metric": "None"}
    return {"objective": "multiclass", "metric": "None", "num_class": n_classes}


def _measure(
    task: Task, y: IntArray, weights: NDArray[np.float64] | None, proba: NDArray[np.float64], _: lgb.Dataset
) -> tuple[str, float, bool]:
    """Return the log loss, as LightGBM takes it: its own is summed by its threads, whose number would show."""
    return "log_loss", log_loss(task, y, proba, weights=weights), False
