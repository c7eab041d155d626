"""RINE's network for more tasks than one: layers are projected, weighed for each unit, and their sum is projected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from heads.data.columns import Columns
from heads.mlp.fusions.base import Fusion, Parameter, affine, apply_affine
from heads.mlp.fusions.layers import project_layers, weigh_layers

__all__ = ["RINE"]


def _rectified(name: str, dim: int) -> dict[str, Parameter]:
    """Return the parameters of a map that a ReLU follows (He, Zhang, Ren & Sun 2015, equation 10, arXiv:1502.01852).

    Begun as torch.nn.Linear does, so many of them let little through, and task B is learnt late.
    """
    return {f"{name}.weight": Parameter((dim, dim), (6 / dim) ** 0.5), f"{name}.bias": Parameter((dim,), None)}


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    return {
        **_rectified("layer", dim),
        "importance": Parameter((len(columns.blocks), dim), None),
        **_rectified("summary0", dim),
        **_rectified("summary1", dim),
        **affine("classifiers", dim, n_logits),
    }


def _hidden(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    first = projected[0].relu()
    units = apply_affine("layer", first.flatten(1, 2), weights).relu().view(first.shape)
    summary = weigh_layers(units, weights)
    for name in ("summary0", "summary1"):
        summary = apply_affine(name, summary, weights).relu()
    return summary


RINE = Fusion(partial(project_layers, fusion="rine"), _parameters, _hidden)
"""``h = Q2(Σ_l softmax(A)_l ∘ Q1(x_l))``; Q1 and Q2 are two linear maps each, a ReLU after every one.

Koutlis & Papadopoulos, "Leveraging Representations from Intermediate Encoder-blocks for Synthetic Image Detection"
(RINE, 2024), section 3.2 (projections, trainable importance estimator), arXiv:2402.19091. The classifiers are linear,
there is no dropout, and the weights of the layers begin equal. Its contrastive loss is setting ``contrast``.
"""
