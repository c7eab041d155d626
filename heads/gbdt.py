"""Gradient-boosted trees (LightGBM) over the raw vectors: one model for A, a conditional one for B."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import lightgbm as lgb
import numpy as np

from heads.errors import HeadsError
from heads.head import FloatArray, Prediction, Progress
from heads.lightgbm_text import check_model_text
from heads.registry import Description, check_settings, read_bounded, read_description, write_description
from heads.scaling import check_features
from heads.selection import check_fit_rows
from heads.tasks import IntArray, Targets, Task

__all__ = ["GbdtConfig", "GbdtHead"]

_MAX_TEXT = 256 * 2**20
_SMALL = 2**22  # values of a matrix
_LEAST_AND_MOST = {
    "rounds": (1, 10_000),
    "patience": (1, 10_000),
    "num_leaves": (2, 4096),
    "min_data_in_leaf": (1, 2**31 - 1),
    "max_bin": (2, 65_535),
    "num_threads": (1, 1024),
}


@dataclass(frozen=True)
class GbdtConfig:
    """LightGBM's settings, under its names where it has them.

    ``max_bin`` and ``feature_fraction`` make 1,536 columns 20 times faster than the defaults, and no worse.

    Attributes
    ----------
    rounds : int
        Most boosting rounds; each is one tree for A and one a generator for B.
    patience : int
        Stop after so many rounds without a lower loss on the select rows; the best round is kept.
    num_threads : int
        At most; never more than the machine's processors, and one for a small matrix. No result depends on it.
    """

    rounds: int = 100
    patience: int = 20
    learning_rate: float = 0.1
    num_leaves: int = 31
    min_data_in_leaf: int = 20
    max_bin: int = 63
    feature_fraction: float = 0.1
    num_threads: int = 4

    def __post_init__(self) -> None:
        for name, (least, most) in _LEAST_AND_MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise HeadsError(f"{name} is {value!r}, expected a whole number from {least} to {most}")
        for name in ("learning_rate", "feature_fraction"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value <= 1:
                raise HeadsError(f"{name} is {value!r}, expected a number above 0, at most 1")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="gbdt")
        return cls(**values)


@dataclass(frozen=True)
class _Model:
    """A fitted task: the classes present in training, and a booster over them unless there is only one."""

    present: tuple[int, ...]
    text: str | None
    booster: lgb.Booster | None

    @classmethod
    def build(cls, present: Sequence[int], text: str | None, *, task: Task, n_features: int) -> Self:
        if text is None:
            return cls(tuple(present), None, None)
        n_classes = 1 if task.kind == "binary" else len(present)
        text = check_model_text(text, n_features, n_classes=n_classes)
        try:
            booster = lgb.Booster(model_str=text)
        except lgb.basic.LightGBMError as error:
            raise HeadsError(f"the model of task {task.name!r} is not one that LightGBM reads: {error}") from error
        return cls(tuple(present), text, booster)

    def proba(self, X: FloatArray, *, task: Task, num_threads: int) -> FloatArray:
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


class GbdtHead:
    """One LightGBM model a task, stopped early by the log loss of its select rows.

    Trees need no standardisation: ``X`` goes in as it is. A class that never occurs in training gets
    probability 0, and its select rows do not take part in stopping; with one class in training that class
    gets 1. Without select rows of a task, all rounds are kept. LightGBM prints nothing.

    Attributes
    ----------
    history_ : tuple of mapping
        One record a round and task: ``task``, ``round`` (from 1), ``select_loss``. None where a task has no
        booster or no select rows.
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
        history: list[Mapping[str, Any]] = []

        def record(task: str, round_: int, select_loss: float | None) -> None:
            history.append({"task": task, "round": round_, "select_loss": select_loss})
            if progress is not None:
                progress(history[-1])

        self._models: dict[str, _Model] = {}
        self.best_rounds_: dict[str, int] = {}
        for task in self.tasks:
            train = _labelled(X, targets, task)
            present = np.unique(train[1])
            text = None
            if len(present) > 1:
                data = _encode(*train, present), _encode(*_labelled(*select, task), present)
                params = _params(
                    self.config, task, n_classes=len(present), n_threads=_n_threads(self.config, X), seed=seed
                )
                text = _train(params, *data, config=self.config, record=partial(record, task.name))
            model = _Model.build(present.tolist(), text, task=task, n_features=X.shape[1])
            self._models[task.name] = model
            self.best_rounds_[task.name] = model.booster.current_iteration() if model.booster else 0
        self._n_features, self._history = X.shape[1], tuple(history)
        return self

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        check_features(X, n_features=self._n_features)
        threads = _n_threads(self.config, X)
        models = ((task, self._models[task.name]) for task in self.tasks)
        return Prediction({task.name: model.proba(X, task=task, num_threads=threads) for task, model in models})

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and a ``model-N.txt`` for each task with a booster into an existing folder."""
        for place, task in enumerate(self.tasks):
            text = self._models[task.name].text
            if text is not None:
                (folder / f"model-{place}.txt").write_text(text, encoding="ascii")
        present = {task.name: list(self._models[task.name].present) for task in self.tasks}
        fitted = {"present": present, "best_rounds": self.best_rounds_}
        config = asdict(self.config)
        description = Description(self.kind, self.tasks, self._n_features, config, self._history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        found = read_description(folder, cls.kind)
        head = cls(found.tasks, GbdtConfig.from_mapping(found.config))
        present: Any = found.fitted.get("present")
        if set(found.fitted) != {"present", "best_rounds"} or not _has_keys(present, found.tasks):
            raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected present and best_rounds")
        head._n_features, head._history = found.n_features, found.history
        head._models, head.best_rounds_ = {}, {}
        for place, task in enumerate(found.tasks):
            codes = _parse_present(present.get(task.name), task, folder)
            text = None
            if len(codes) > 1:
                # What is not ASCII becomes the replacement character, which the check of the text refuses.
                text = read_bounded(folder / f"model-{place}.txt", _MAX_TEXT).decode("ascii", "replace")
            model = _Model.build(codes, text, task=task, n_features=found.n_features)
            head._models[task.name] = model
            head.best_rounds_[task.name] = model.booster.current_iteration() if model.booster else 0
        return head


def _labelled(X: FloatArray, targets: Targets, task: Task) -> tuple[FloatArray, IntArray]:
    rows = targets.applies[task.name]
    return X[rows], targets.y[task.name][rows]


def _encode(X: FloatArray, y: IntArray, present: IntArray) -> tuple[FloatArray, IntArray]:
    """Number the classes ``present`` in training from 0; drop the rows of others (select rows have such)."""
    rows = np.isin(y, present)
    return X[rows], np.searchsorted(present, y[rows])


def _n_threads(config: GbdtConfig, X: FloatArray) -> int:
    # LightGBM waits for all its threads a thousand times a second: on a busy machine a fit of 800 x 24 values took
    # 25 s with two threads and 0.07 s with one.
    return 1 if X.size < _SMALL else min(config.num_threads, os.cpu_count() or 1)


def _params(config: GbdtConfig, task: Task, *, n_classes: int, n_threads: int, seed: int) -> dict[str, Any]:
    params = {name: value for name, value in asdict(config).items() if name not in ("rounds", "patience")}
    params["num_threads"] = n_threads
    params |= {"seed": seed % 2**31, "deterministic": True, "force_col_wise": True, "verbosity": -1}
    if task.kind == "binary":
        params |= {"objective": "binary", "metric": "binary_logloss"}
    else:
        params |= {"objective": "multiclass", "metric": "multi_logloss", "num_class": n_classes}
    return params


def _train(
    params: dict[str, Any],
    train: tuple[FloatArray, IntArray],
    select: tuple[FloatArray, IntArray],
    *,
    config: GbdtConfig,
    record: Callable[[int, float | None], None],
) -> str:
    """Boost, and return the text of the best rounds."""

    def report(env: lgb.callback.CallbackEnv) -> None:
        results = env.evaluation_result_list
        record(env.iteration + 1, float(results[0][2]) if results else None)

    dataset = lgb.Dataset(train[0], train[1], params=params)
    callbacks: list[Callable[..., Any]] = [report]
    valid = []
    if len(select[1]):
        valid = [lgb.Dataset(select[0], select[1], reference=dataset, params=params)]
        callbacks.append(lgb.early_stopping(config.patience, verbose=False))
    booster = lgb.train(params, dataset, num_boost_round=config.rounds, valid_sets=valid, callbacks=callbacks)
    text: str = booster.model_to_string(num_iteration=booster.best_iteration or -1)
    return text


def _has_keys(present: Any, tasks: Sequence[Task]) -> bool:
    return isinstance(present, dict) and set(present) == {task.name for task in tasks}


def _parse_present(codes: Any, task: Task, folder: Path) -> list[int]:
    n_classes = len(task.classes)
    is_codes = isinstance(codes, list) and len(codes) > 0 and all(type(code) is int for code in codes)
    if not is_codes or codes != sorted(set(codes)) or codes[0] < 0 or codes[-1] >= n_classes:
        raise HeadsError(f"{folder} has {codes!r:.80} as classes of task {task.name!r}, expected rising codes")
    if task.kind == "binary" and len(codes) != 2:
        raise HeadsError(f"{folder} has {len(codes)} class of binary task {task.name!r}, expected 2")
    return list(codes)
