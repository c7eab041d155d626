"""A trunk and classifiers of its own for each modality; their logits are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from heads.data.columns import Columns
from heads.mlp.fusions.base import Fusion, Parameter, Projection, affine, apply_affine

__all__ = ["LOGIT_MEAN"]


def _projections(columns: Columns) -> tuple[Projection, ...]:
    spans = [columns.span([modality]) for modality in columns.modalities]
    return tuple(Projection(f"hidden{place}", s.start, s.stop) for place, s in enumerate(spans))


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    parts = [affine(f"classifiers{place}", dim, n_logits) for place in range(len(columns.modalities))]
    return {name: parameter for part in parts for name, parameter in part.items()}


def _hidden(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(projected), dim=2).relu()


def _logits(hidden: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    sizes = [value.shape[2] for name, value in weights.items() if name.startswith("classifiers") and value.ndim == 3]
    parts = torch.split(hidden, sizes, dim=2)
    return torch.stack([apply_affine(f"classifiers{place}", part, weights) for place, part in enumerate(parts)]).mean(0)


LOGIT_MEAN = Fusion(_projections, _parameters, _hidden, _logits)
"""Late fusion by the mean of logits, a geometric mean of the modalities' odds.

Kittler, Hatef, Duin & Matas, "On Combining Classifiers" (1998), product rule; doi:10.1109/34.667881.
"""
