"""A low-rank bilinear form: each hidden unit multiplies a direction of one modality by one of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from heads.data.columns import Columns
from heads.errors import HeadsError
from heads.mlp.fusions.base import Fusion, Parameter, Projection, affine

__all__ = ["MLB"]


def _projections(columns: Columns) -> tuple[Projection, ...]:
    modalities = columns.modalities
    if len(modalities) != 2:
        raise HeadsError(f"fusion 'mlb' joins two modalities, the columns are {' + '.join(modalities)}")
    first, second = (columns.span([modality]) for modality in modalities)
    return (Projection("first", first.start, first.stop), Projection("second", second.start, second.stop))


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    return affine("classifiers", dim, n_logits)


def _hidden(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    first, second = projected
    return first.tanh() * second.tanh()


MLB = Fusion(_projections, _parameters, _hidden)
"""Multimodal low-rank bilinear pooling: ``P (tanh(U x) ∘ tanh(V y)) + b``; ``dim`` is the rank.

Kim, On, Lim, Kim, Ha & Zhang, "Hadamard Product for Low-rank Bilinear Pooling" (2017), equations 8 and 9,
arXiv:1610.04325; U and V have biases, so that linear terms are in reach.
"""
