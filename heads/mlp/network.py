"""The network of a head with its columns filled in, computed for many heads at once; and one with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from heads.data.columns import Columns
from heads.data.fusion import STRUCTURED
from heads.data.tasks import Task
from heads.errors import HeadsError
from heads.head.scaling import Standardizer
from heads.mlp.config import MlpConfig
from heads.mlp.fusions import Fusion, Parameter, Projection, affine, fusion_network
from heads.mlp.losses import OBJECTIVES, Objective

__all__ = ["FittedNetwork", "Network", "columns_of", "unstack"]


@dataclass(frozen=True)
class Network:
    """What heads of one fusion, width, loss and layout have in common.

    Attributes
    ----------
    fusion : str
        A key of `heads.data.fusion.FUSIONS`.
    columns : Columns
        Those that the head takes.
    dim : int
    loss : str
        A key of `heads.mlp.losses.OBJECTIVES`.
    tasks : tuple of Task
    """

    fusion: str
    columns: Columns
    dim: int
    loss: str
    tasks: tuple[Task, ...]

    @classmethod
    def build(cls, config: MlpConfig, tasks: Sequence[Task], columns: Columns) -> Network:
        """Build the network that a config asks for."""
        return cls(config.fusion, columns, config.dim, config.loss, tuple(tasks))

    @property
    def objective(self) -> Objective:
        """The loss and its way back to probabilities."""
        return OBJECTIVES[self.loss]

    @cached_property
    def _network(self) -> Fusion:
        return fusion_network(self.fusion)

    @cached_property
    def projections(self) -> tuple[Projection, ...]:
        """The linear maps of the columns."""
        if self.fusion in STRUCTURED and not self.columns.is_known:
            raise HeadsError(f"fusion {self.fusion!r} needs to know which columns are of which modality and output")
        return self._network.projections(self.columns)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """All parameters of one head, in the order in which they are drawn."""
        maps: dict[str, Parameter] = {}
        for p in self.projections:
            maps |= affine(p.name, p.width, self.dim)
        return {**maps, **self._network.parameters(self.columns, self.dim, sum(self._sizes.values()))}

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return self.objective.outputs(self.tasks)

    @cached_property
    def map_names(self) -> tuple[str, ...]:
        """Names of the parameters of the projections."""
        return tuple(f"{p.name}.{part}" for p in self.projections for part in ("weight", "bias"))

    @property
    def n_parameters(self) -> int:
        """Numbers that one head learns."""
        return sum(torch.Size(parameter.shape).numel() for parameter in self.parameters.values())

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the parameters of one head; a task's classifiers do not depend on its place among the tasks."""
        weights = {}
        for name, parameter in self.parameters.items():
            value = torch.zeros(parameter.shape)
            if parameter.bound is not None:
                value.uniform_(-parameter.bound, parameter.bound, generator=generator)
            weights[name] = value[self._places] if name.startswith("classifier") else value
        return weights

    @cached_property
    def _places(self) -> Tensor:
        """Where each logit stands when the outputs are sorted by name."""
        starts, start = {}, 0
        for name in sorted(self._sizes):
            starts[name], start = start, start + self._sizes[name]
        return torch.cat([torch.arange(starts[name], starts[name] + size) for name, size in self._sizes.items()])

    def project(self, X: Tensor, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Map the columns of ``X`` (n, d): each projection of all K heads is one product (n · n_blocks, K · dim)."""
        return [
            torch.addmm(
                weights[f"{p.name}.bias"].reshape(-1),
                columns_of(X, p),
                weights[f"{p.name}.weight"].reshape(-1, p.width).mT,
            )
            for p in self.projections
        ]

    def hidden(self, projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        """Return the hidden units of K heads from their projections: (K, n, h)."""
        n_heads = len(next(iter(weights.values())))  # every network has classifiers beside its projections
        parts = [unstack(value, n_heads, p) for value, p in zip(projected, self.projections, strict=True)]
        return self._network.hidden(parts, weights)

    def logits(self, hidden: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of K heads from their hidden units, by output: (K, n), or (K, n, C) with several logits."""
        logits = self._network.logits(hidden, weights)
        outputs = zip(self._sizes, torch.split(logits, list(self._sizes.values()), dim=2), strict=True)
        return {name: part.squeeze(2) if part.shape[2] == 1 else part for name, part in outputs}


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """What training gives, or a file: a network that predicts raw vectors.

    Attributes
    ----------
    network : Network
    scaler : Standardizer
        Of the columns that the network takes.
    weights : mapping of parameter name to float32 tensor
        Of its best epoch, on the CPU.
    history : tuple of mapping
        One record an epoch: ``epoch`` (from 1), ``loss`` (mean over the batches), ``select_loss``, ``score``.
    best_epoch : int
        0 if it diverged before there was one; the network then has its first weights.
    seconds : float
        Its share of the time, by the size of its network; 0 if it was read.
    diverged : int or None
        The epoch in which its loss was not finite any more: lower ``lr``.
    """

    network: Network
    scaler: Standardizer
    weights: Mapping[str, Tensor]
    history: tuple[Mapping[str, Any], ...]
    best_epoch: int
    seconds: float = 0.0
    diverged: int | None = None


def columns_of(X: Tensor, projection: Projection) -> Tensor:
    """Return the columns that a projection takes, one block a row: (n · n_blocks, width)."""
    part = X[:, projection.start : projection.stop]
    return part if projection.n_blocks == 1 else part.reshape(-1, projection.width)


def unstack(value: Tensor, n_heads: int, projection: Projection) -> Tensor:
    """Return a projection of K heads as (K, n, dim), or (K, n, n_blocks, dim)."""
    dim = value.shape[1] // n_heads
    if projection.n_blocks == 1:
        return value.view(-1, n_heads, dim).transpose(0, 1)
    return value.view(-1, projection.n_blocks, n_heads, dim).permute(2, 0, 1, 3)
