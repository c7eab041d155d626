"""A one-hidden-layer network over the concatenated vectors: a shared trunk and one classifier a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from heads.errors import HeadsError
from heads.head import FloatArray, Prediction, Progress
from heads.losses import OBJECTIVES
from heads.registry import Description, check_settings, read_description, read_tensors, write_description, write_tensors
from heads.scaling import Standardizer, check_features, check_finite
from heads.selection import check_fit_rows, paper_score, selection_score
from heads.tasks import Targets, Task, joint_tasks

__all__ = ["MlpConfig", "MlpHead"]

_WEIGHTS = "weights.safetensors"
_PREDICT_ROWS = 8192
_MAX_DIM = 65_536
_SCORES = {"all": selection_score, "paper": paper_score}


@dataclass(frozen=True)
class MlpConfig:
    """How an `MlpHead` is built and trained.

    Attributes
    ----------
    dim : int
        Width of the hidden layer.
    loss : {"multitask", "paper", "joint"}
        See `heads.losses`.
    weight : float
        λ of the conditional tasks; the joint loss has none.
    lr, weight_decay : float
        Of AdamW.
    batch_size, epochs : int
    patience : int or None
        Stop after so many epochs without a better one; None never stops early.
    select_by : {"all", "paper"}
        `selection_score` over all tasks, or A's binary F1 alone.
    """

    dim: int = 512
    loss: Literal["multitask", "paper", "joint"] = "multitask"
    weight: float = 1.0
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 256
    epochs: int = 50
    patience: int | None = 8
    select_by: Literal["all", "paper"] = "all"

    def __post_init__(self) -> None:
        for name, known in (("loss", OBJECTIVES), ("select_by", _SCORES)):
            if getattr(self, name) not in tuple(known):
                raise HeadsError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        for name, most in (("dim", _MAX_DIM), ("batch_size", 2**31), ("epochs", 10**6), ("patience", 10**6)):
            value = getattr(self, name)
            is_whole = type(value) is int and 1 <= value <= most
            if not is_whole and not (name == "patience" and value is None):
                raise HeadsError(f"{name} is {value!r}, expected a whole number from 1 to {most}")
        for name in ("weight", "lr", "weight_decay"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < float("inf"):
                raise HeadsError(f"{name} is {value!r}, expected a finite number of at least 0")

    @classmethod
    def paper(cls) -> Self:
        """Return the settings of NAU-QMUL's published code (but its encoders stay frozen)."""
        return cls(loss="paper", lr=2e-5, epochs=8, patience=None, select_by="paper")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML; unknown keys are refused."""
        check_settings(cls, values, kind="mlp")
        return cls(**values)


class MlpHead:
    """Linear(d, dim) → ReLU → one linear classifier a task, trained with AdamW on standardised vectors.

    Rows without any label are left out of the fit, and of its standardisation. A class that never occurs in
    training keeps its classifier and so gets a small probability, not 0. Fits repeat bit for bit with one
    seed on one machine with one number of threads, and neither use nor move torch's global random state.

    Attributes
    ----------
    history_ : tuple of mapping
        One record an epoch: ``epoch`` (from 1), ``loss`` (mean over the batches), ``select_loss``, ``score``.
    best_epoch_ : int
        The epoch whose weights were kept: best score, then lowest ``select_loss``, then earliest.
    """

    kind: ClassVar[str] = "mlp"

    def __init__(self, tasks: Sequence[Task], config: MlpConfig | None = None) -> None:
        self.tasks = tuple(tasks)
        self.config = config or MlpConfig()
        if self.config.loss == "joint":
            joint_tasks(self.tasks)
        self._objective = OBJECTIVES[self.config.loss]
        self._history: tuple[Mapping[str, Any], ...] = ()

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """One record an epoch; see the class."""
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
        """Fit on ``X``; ``select`` chooses the epoch and when to stop."""
        check_fit_rows(self.tasks, X, targets, select=select)
        labelled = np.any([targets.applies[task.name] for task in self.tasks], axis=0)
        if not labelled.all():
            X, targets = X[labelled], targets.select(labelled)
        self._scaler = Standardizer.fit(X)
        generator = torch.Generator().manual_seed(seed)
        self._weights = _init_weights(self._shapes(X.shape[1]), generator)
        train = _Rows.build(self._scaler.transform(X), targets, self.tasks)
        select_rows = _Rows.build(self._scaler.transform(select[0]), select[1], self.tasks)

        history: list[Mapping[str, Any]] = []
        best, best_key = self._weights, (-np.inf, -np.inf)
        for epoch, loss in enumerate(self._run_epochs(train, generator), start=1):
            select_loss, score = self._evaluate(select_rows, select[1])
            if not np.isfinite([loss, select_loss]).all():
                raise HeadsError(f"training diverged in epoch {epoch}: loss is {loss}; lower lr ({self.config.lr})")
            history.append({"epoch": epoch, "loss": loss, "select_loss": select_loss, "score": score})
            if progress is not None:
                progress(history[-1])
            if (score, -select_loss) > best_key:
                best_key, self.best_epoch_ = (score, -select_loss), epoch
                best = {name: value.detach().clone() for name, value in self._weights.items()}
            if self.config.patience is not None and epoch - self.best_epoch_ >= self.config.patience:
                break
        self._weights, self._history = best, tuple(history)
        return self

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        check_features(X, n_features=len(self._scaler.mean))
        starts = range(0, max(len(X), 1), _PREDICT_ROWS)
        chunks = (torch.from_numpy(self._scaler.transform(X[i : i + _PREDICT_ROWS])) for i in starts)
        parts = [self._proba(chunk) for chunk in chunks]
        proba = {task.name: np.concatenate([part[task.name] for part in parts]) for task in self.tasks}
        for name, values in proba.items():
            check_finite(values, f"the prediction of task {name!r}")
        return Prediction(proba)

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and ``weights.safetensors`` into an existing folder."""
        arrays: dict[str, Any] = {name: value.numpy() for name, value in self._weights.items()}
        arrays |= {"scaler.mean": self._scaler.mean, "scaler.inverse_scale": self._scaler.inverse_scale}
        write_tensors(folder / _WEIGHTS, arrays)
        n_features, config, fitted = len(self._scaler.mean), asdict(self.config), {"best_epoch": self.best_epoch_}
        description = Description(self.kind, self.tasks, n_features, config, self._history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        found = read_description(folder, cls.kind)
        head = cls(found.tasks, MlpConfig.from_mapping(found.config))
        shapes = head._shapes(found.n_features)
        expected: dict[str, Any] = {name: (np.float32, shape) for name, shape in shapes.items()}
        expected |= dict.fromkeys(("scaler.mean", "scaler.inverse_scale"), (np.float64, (found.n_features,)))
        arrays = read_tensors(folder / _WEIGHTS, expected)
        head._scaler = Standardizer(arrays.pop("scaler.mean"), arrays.pop("scaler.inverse_scale"))
        head._weights = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        head._history = found.history
        if set(found.fitted) != {"best_epoch"} or type(found.fitted["best_epoch"]) is not int:
            raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected a best_epoch")
        head.best_epoch_ = found.fitted["best_epoch"]
        return head

    def _shapes(self, n_features: int) -> dict[str, tuple[int, ...]]:
        dim, n_logits = self.config.dim, sum(self._objective.outputs(self.tasks).values())
        return {
            "hidden.weight": (dim, n_features),
            "hidden.bias": (dim,),
            "classifiers.weight": (n_logits, dim),
            "classifiers.bias": (n_logits,),
        }

    def _run_epochs(self, rows: _Rows, generator: torch.Generator) -> Iterator[float]:
        """Train one epoch at a time, in place; yield its mean loss."""
        config = self.config
        weights = list(self._weights.values())
        optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        for _ in range(config.epochs):
            losses = []
            order = torch.randperm(len(rows.X), generator=generator)
            for batch in torch.split(order, config.batch_size):
                optimizer.zero_grad()
                loss = self._loss(rows.pick(batch))
                torch.autograd.backward(loss)
                optimizer.step()
                losses.append(loss.detach())
            yield float(torch.stack(losses).mean())

    def _loss(self, rows: _Rows) -> Tensor:
        logits, weight = self._logits(rows.X), self.config.weight
        return self._objective.loss(logits, rows.y, tasks=self.tasks, applies=rows.applies, weight=weight)

    def _evaluate(self, rows: _Rows, targets: Targets) -> tuple[float, float]:
        with torch.inference_mode():
            loss = float(self._loss(rows))
        prediction = Prediction(self._proba(rows.X))
        return loss, _SCORES[self.config.select_by](prediction, targets, self.tasks)

    def _proba(self, X: Tensor) -> dict[str, FloatArray]:
        with torch.inference_mode():
            proba = self._objective.proba(self._logits(X), self.tasks)
        return {name: value.numpy() for name, value in proba.items()}

    def _logits(self, X: Tensor) -> dict[str, Tensor]:
        hidden = F.relu(F.linear(X, self._weights["hidden.weight"], self._weights["hidden.bias"]))
        logits = F.linear(hidden, self._weights["classifiers.weight"], self._weights["classifiers.bias"])
        sizes = self._objective.outputs(self.tasks)
        parts = zip(sizes, torch.split(logits, list(sizes.values()), dim=1), strict=True)
        return {name: part.squeeze(1) if part.shape[1] == 1 else part for name, part in parts}


@dataclass(frozen=True)
class _Rows:
    """Standardised rows with their targets, as tensors."""

    X: Tensor
    y: Mapping[str, Tensor]
    applies: Mapping[str, Tensor]

    @classmethod
    def build(cls, X: FloatArray, targets: Targets, tasks: Sequence[Task]) -> Self:
        names = [task.name for task in tasks]
        y = {name: torch.tensor(targets.y[name]) for name in names}
        return cls(torch.from_numpy(X), y, {name: torch.tensor(targets.applies[name]) for name in names})

    def pick(self, index: Tensor) -> _Rows:
        y = {name: value[index] for name, value in self.y.items()}
        return _Rows(self.X[index], y, {name: value[index] for name, value in self.applies.items()})


def _init_weights(shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator) -> dict[str, Tensor]:
    """Draw each layer from U(±1/sqrt(inputs)), as torch.nn.Linear does, but from the head's own generator."""
    weights = {}
    for name, shape in shapes.items():
        inputs = shapes[name.replace(".bias", ".weight")][1]
        bound = inputs**-0.5
        weights[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator).requires_grad_()
    return weights
