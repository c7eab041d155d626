"""All columns side by side: Linear → ReLU → linear classifiers (`concat`, `image`, `text`, `spectral` …)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from heads.data.columns import Columns
from heads.mlp.fusions.base import Fusion, Parameter, Projection, classifier, classify

__all__ = ["TRUNK"]


def _projections(columns: Columns) -> tuple[Projection, ...]:
    return (Projection("hidden", 0, columns.width),)


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    return classifier("classifiers", dim, n_logits)


def _logits(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return classify("classifiers", projected[0].relu(), weights)


TRUNK = Fusion(_projections, _parameters, _logits)
