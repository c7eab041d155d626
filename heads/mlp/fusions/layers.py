"""One trunk for every cached layer, and learnt weights that say which layers each hidden unit listens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from heads.data.columns import Columns
from heads.errors import HeadsError
from heads.mlp.fusions.base import Fusion, Parameter, Projection, affine

__all__ = ["LAYERS", "project_layers", "weigh_layers"]


def project_layers(columns: Columns, fusion: str = "layers") -> tuple[Projection, ...]:
    """Return one projection that all layers share; raise if the columns are not layers of one family."""
    widths = {block.width for block in columns.blocks}
    if len(columns.blocks) < 2 or len(widths) != 1:
        found = ", ".join(f"{block.output or 'unnamed'} {block.width}" for block in columns.blocks)
        raise HeadsError(
            f"fusion {fusion!r} needs two outputs or more of one width, found {found}: name them with --image-outputs"
        )
    families = sorted({block.output.partition(":")[0] for block in columns.blocks if ":" in block.output})
    if len(families) > 1:
        raise HeadsError(
            f"fusion {fusion!r} takes layers of one family, found {' and '.join(families)}: "
            f"name one with --image-outputs {families[0]}:all"
        )
    return (Projection("hidden", 0, columns.width, n_blocks=len(columns.blocks)),)


def _parameters(columns: Columns, dim: int, n_logits: int) -> dict[str, Parameter]:
    importance = {"importance": Parameter((len(columns.blocks), dim), None)}
    return {**importance, **affine("classifiers", dim, n_logits)}


def _hidden(projected: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return weigh_layers(projected[0].relu(), weights)


def weigh_layers(units: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Sum units (K, n, layers, dim) over the layers, each unit by a softmax of its own: (K, n, dim)."""
    return (units * weights["importance"].softmax(1).unsqueeze(1)).sum(2)


LAYERS = Fusion(project_layers, _parameters, _hidden)
"""A shared projection of each layer's class token or mean patch token, weighted for each hidden unit by a softmax
over the layers.

Koutlis & Papadopoulos, "Leveraging Representations from Intermediate Encoder-blocks for Synthetic Image Detection"
(RINE, 2024), section 3.2 (projection and trainable importance estimator), arXiv:2402.19091; with one projection
layer and without its contrastive loss. The weights begin equal.
"""
