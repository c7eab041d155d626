"""What the network of a fusion consists of: linear projections of the columns, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heads.data.columns import Columns

__all__ = ["Fusion", "Parameter", "Projection", "affine", "apply_affine"]


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
    bound : float or None
        Drawn from U(±bound); None begins with zeros.
    """

    shape: tuple[int, ...]
    bound: float | None


def affine(name: str, n_inputs: int, n_outputs: int) -> dict[str, Parameter]:
    """Return the parameters of a linear map with biases, which begins as torch.nn.Linear does."""
    bound = n_inputs**-0.5
    return {f"{name}.weight": Parameter((n_outputs, n_inputs), bound), f"{name}.bias": Parameter((n_outputs,), bound)}


def apply_affine(name: str, X: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Map units (K, n, n_inputs) of K heads, each by its own weights: (K, n, n_outputs)."""
    return torch.baddbmm(weights[f"{name}.bias"].unsqueeze(1), X, weights[f"{name}.weight"].mT)


def _classify(hidden: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    return apply_affine("classifiers", hidden, weights)


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
    hidden : callable
        ``(projected, weights) -> (K, n, h)``: the hidden units of K heads at once. ``projected`` has one tensor a
        projection, (K, n, dim), or (K, n, n_blocks, dim) with several blocks; ``weights`` the further parameters,
        (K, …).
    logits : callable
        ``(hidden, weights) -> (K, n, n_logits)``; by default one linear map, ``classifiers``.
    """

    projections: Callable[[Columns], tuple[Projection, ...]]
    parameters: Callable[[Columns, int, int], dict[str, Parameter]]
    hidden: Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor]
    logits: Callable[[Tensor, Mapping[str, Tensor]], Tensor] = _classify
