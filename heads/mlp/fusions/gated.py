"""A gate for each hidden unit that says which modality it listens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from heads.data.columns import Columns
from heads.errors import HeadsError
from heads.mlp.fusions.base import Fusion, Parameter, Projection, affine

__all__ = ["GATED"]


def _projections(columns: Columns) -> tuple[Projection, ...]:
    modalities = columns.modalities
    if len(modalities) != 2:
        raise HeadsError(f"fusion 'gated' joins two modalities, the columns are {' + '.join(modalities)}")
    first, second = (columns.span([modality]) for modality in modalities)
    return (
        Projection("first", first.start, first.stop),
        Projection("second", second.start, second.stop),
        Projection("gate", 0, columns.width),
    )


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    return affine("classifiers", dim, n_logits)


def _hidden(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    first, second, gate = projected
    return torch.lerp(second.tanh(), first.tanh(), gate.sigmoid())


GATED = Fusion(_projections, _parameters, _hidden)
"""The bimodal gated multimodal unit: ``h = z * tanh(W1 x1) + (1 - z) * tanh(W2 x2)``, ``z = σ(Wz [x1, x2])``.

Arevalo, Solorio, Montes-y-Gómez & González, "Gated Multimodal Units for Information Fusion" (2017), section 3.1,
arXiv:1702.01992; with biases.
"""
