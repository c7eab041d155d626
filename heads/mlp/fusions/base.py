"""What the network of a fusion consists of: linear projections of the columns, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heads.data.columns import Columns

__all__ = ["Fusion", "Parameter", "Projection", "classifier", "classify"]


@dataclass(frozen=True)
class Projection:
    """A linear map of some columns to ``dim`` units: where nearly all of the arithmetic is.

    Attributes
    ----------
    name : str
        Of its parameters: ``<name>.weight`` (dim, width), ``<name>.bias`` (dim,).
    start, stop : int
        The columns.
    n_blocks : int
        Into how many blocks of equal width the columns are cut, each of which is mapped by the same weights.
    """

    name: str
    start: int
    stop: int
    n_blocks: int = 1

    @property
    def width(self) -> int:
        """Columns that one application of the map takes."""
        return (self.stop - self.start) // self.n_blocks


@dataclass(frozen=True)
class Parameter:
    """A further parameter of one head.

    Attributes
    ----------
    shape : tuple of int
    n_inputs : int or None
        Drawn from U(±1/sqrt(n_inputs)), as torch.nn.Linear does; None begins with zeros.
    """

    shape: tuple[int, ...]
    n_inputs: int | None


@dataclass(frozen=True)
class Fusion:
    """The network of a fusion.

    Attributes
    ----------
    projections : callable
        ``columns -> (Projection, …)``; raises `HeadsError` if the columns are not what the fusion needs.
    parameters : callable
        ``(columns, dim, n_logits) -> {name: Parameter}``: the further parameters of a head. Those whose name begins
        with ``classifier`` have the logits on axis 0.
    logits : callable
        ``(projected, weights) -> (K, n, n_logits)``: of K heads at once. ``projected`` has one tensor a projection,
        (K, n, dim), or (K, n, n_blocks, dim) with several blocks; ``weights`` the further parameters, (K, …).
    """

    projections: Callable[[Columns], tuple[Projection, ...]]
    parameters: Callable[[Columns, int, int], dict[str, Parameter]]
    logits: Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor]


def classifier(name: str, dim: int, n_logits: int) -> dict[str, Parameter]:
    """Return the parameters of a linear map of ``dim`` units to the logits."""
    return {f"{name}.weight": Parameter((n_logits, dim), dim), f"{name}.bias": Parameter((n_logits,), dim)}


def classify(name: str, hidden: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Map the hidden units (K, n, dim) of K heads to their logits (K, n, n_logits)."""
    return torch.baddbmm(weights[f"{name}.bias"].unsqueeze(1), hidden, weights[f"{name}.weight"].mT)
