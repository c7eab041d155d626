"""A network over the concatenated vectors: hidden units that a fusion makes of them, and one classifier a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from heads.data.columns import Columns
from heads.data.row_source import ArrayRows, RowSource
from heads.data.tasks import IntArray, Targets, Task, joint_tasks
from heads.errors import HeadsError
from heads.files.contents import Contents
from heads.files.ranges import Range
from heads.head.checks import check_fit_rows
from heads.head.kinds import find_kind
from heads.head.protocol import Device, FloatArray, Prediction, Progress
from heads.head.saved import Description, read_description, read_tensors, write_description, write_tensors
from heads.head.scaling import Standardizer
from heads.mlp.config import MlpConfig
from heads.mlp.engine import HeadSpec, fit_pack
from heads.mlp.network import FittedNetwork, Network
from heads.mlp.scoring import predict_pack

__all__ = ["MlpConfig", "MlpHead"]

_WEIGHTS = "weights.safetensors"
_EPOCH = Range(int, 0, 10**9)


class MlpHead:
    """A network trained with AdamW on standardised vectors: for most fusions Linear(d, dim) → ReLU → classifiers.

    Rows without any label are left out of the fit, and of its standardisation. A class that never occurs in
    training keeps its classifier and so gets a small probability, not 0. Fits repeat bit for bit with one seed on one
    machine, and neither use nor move torch's global random state.

    Parameters
    ----------
    tasks : sequence of Task
    config : MlpConfig, optional
    columns : Columns, optional
        What the columns of X are; a fusion with a structure (`heads.data.fusion.STRUCTURED`) has to know.
    device, memory
        As of `engine.fit_pack`.

    Attributes
    ----------
    fitted_ : FittedNetwork
        What was learnt.
    history_ : tuple of mapping
        One record an epoch: ``epoch`` (from 1), ``loss`` (mean over the batches), ``select_loss``, ``score`` and
        ``merit`` (`heads.head.selecting.joint_merit`); the last three on the select rows, in all views.
    best_epoch_ : int
        The epoch whose weights were kept: largest ``merit``, then lowest ``select_loss``, then earliest.
    """

    kind: ClassVar[str] = "mlp"

    def __init__(
        self,
        tasks: Sequence[Task],
        config: MlpConfig | None = None,
        *,
        columns: Columns | None = None,
        device: Device = "cpu",
        memory: int | str | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self.config = config or MlpConfig()
        if self.config.loss == "joint":
            joint_tasks(self.tasks)
        self._columns, self._device, self._memory = columns, device, memory
        self._fitted: FittedNetwork | None = None

    @property
    def fitted_(self) -> FittedNetwork:
        """The network with its weights and its standardisation; there is none before the fit."""
        if self._fitted is None:
            raise AttributeError("the head has not been fitted")
        return self._fitted

    @property
    def history_(self) -> Sequence[Mapping[str, Any]]:
        """One record an epoch; see the class."""
        return () if self._fitted is None else self._fitted.history

    @property
    def best_epoch_(self) -> int:
        """The epoch whose weights were kept; see the class."""
        return self.fitted_.best_epoch

    @property
    def n_parameters(self) -> int:
        """Numbers that the network learnt."""
        return self.fitted_.network.n_parameters

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
        n, m = len(X), len(select[0])
        source, joined = ArrayRows(np.concatenate([X, select[0]])), targets.join(select[1])
        return self.fit_rows(source, joined, np.arange(n), np.arange(n, n + m), seed=seed, progress=progress)

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
        """Fit on rows of a source that need not be in memory: a pack of one, see `engine.fit_pack`.

        Each row takes a random one of its views in each epoch; the epoch is chosen on all views of the select rows.
        """
        (fitted,) = fit_pack(
            source,
            targets,
            [HeadSpec(self.config, seed, fit_rows, select_rows)],
            tasks=self.tasks,
            columns=self._columns,
            device=self._device,
            precision="float32" if self._device == "cpu" else "auto",
            memory=self._memory,
            progress=None if progress is None else lambda _, record: progress(record),
        )
        if fitted.diverged is not None:
            raise HeadsError(
                f"training diverged in epoch {fitted.diverged}: its loss is not finite; lower lr ({self.config.lr})"
            )
        self._fitted = fitted
        return self

    def predict_proba(self, X: FloatArray) -> Prediction:
        """Return the class probabilities of ``X`` (n, d)."""
        return predict_pack([self.fitted_], X)[0]

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and ``weights.safetensors`` into an existing folder."""
        learnt = self.fitted_
        arrays: dict[str, Any] = {name: value.numpy() for name, value in learnt.weights.items()}
        arrays |= {"scaler.mean": learnt.scaler.mean, "scaler.inverse_scale": learnt.scaler.inverse_scale}
        write_tensors(folder / _WEIGHTS, arrays)
        n_features, config = len(learnt.scaler.mean), asdict(self.config)
        fitted = {"best_epoch": learnt.best_epoch, "columns": learnt.network.columns.to_json()}
        description = Description(self.kind, self.tasks, n_features, config, learnt.history, fitted)
        write_description(folder, description)

    @classmethod
    def load(cls, contents: Contents) -> Self:
        """Read what `save` wrote; the folder is untrusted."""
        found = read_description(contents, cls.kind)
        config = MlpConfig.from_mapping({**find_kind(cls.kind).former, **found.config})
        best_epoch, columns = _read_fitted(found, contents.folder)
        head = cls(found.tasks, config, columns=columns)
        network = Network.build(config, found.tasks, columns)
        expected: dict[str, Any] = {name: (np.float32, p.shape) for name, p in network.parameters.items()}
        expected |= dict.fromkeys(("scaler.mean", "scaler.inverse_scale"), (np.float64, (found.n_features,)))
        arrays = read_tensors(contents, _WEIGHTS, expected)
        scaler = Standardizer(arrays.pop("scaler.mean"), arrays.pop("scaler.inverse_scale"))
        weights = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        head._fitted = FittedNetwork(network, scaler, weights, found.history, best_epoch)
        return head


def _read_fitted(found: Description, folder: Path) -> tuple[int, Columns]:
    fitted = {"columns": Columns.unknown(found.n_features).to_json(), **found.fitted}  # older heads name no columns
    if set(fitted) != {"best_epoch", "columns"} or not _EPOCH.holds(fitted["best_epoch"]):
        raise HeadsError(f"{folder} has fitted values {found.fitted!r:.80}, expected a best_epoch and columns")
    columns = Columns.parse(fitted["columns"], str(folder))
    if columns.width != found.n_features:
        raise HeadsError(f"{folder} describes {columns.width} columns, expected n_features {found.n_features}")
    return fitted["best_epoch"], columns
