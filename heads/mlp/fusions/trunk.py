"""All columns side by side: Linear → ReLU → linear classifiers (`concat`, `image`, `text`, `spectral` …)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from heads.data.columns import Columns
from heads.mlp.fusions.base import Fusion, Parameter, Projection, affine

__all__ = ["TRUNK"]


def _projections(columns: Columns) -> tuple[Projection, ...]:
    return (Projection("hidden", 0, columns.width),)


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    return affine("classifiers", dim, n_logits)


def _hidden(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return projected[0].relu()


TRUNK = Fusion(_projections, _parameters, _hidden)
