"""Heads of one network that see the same batches: their parameters are stacked, a step is a few wide products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heads.mlp.config import MlpConfig
from heads.mlp.losses import contrastive_loss
from heads.mlp.network import Network, columns_of
from heads.mlp.optim import AdamW

__all__ = ["Labels", "Pack"]

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Labels:
    """Targets of some rows as tensors: class indices, the rows to which each task applies, and what they weigh.

    Without weights by task all rows weigh the same.
    """

    y: Mapping[str, Tensor]
    applies: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    def pick(self, rows: Tensor | slice) -> Labels:
        """Return the targets of some rows."""
        return self.map(lambda values: values[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> Labels:
        """Return what a function makes of each tensor."""
        return Labels(*({k: function(v) for k, v in values.items()} for values in vars(self).values()))

    def copy_(self, other: Labels) -> None:
        """Take over the values of as many other rows."""
        for own, given in zip(vars(self).values(), vars(other).values(), strict=True):
            for name, values in own.items():
                values.copy_(given[name])


class Pack:
    """K heads of one network, trained together and each as if it were alone.

    Parameters
    ----------
    network : Network
    configs : sequence of K MlpConfig
        They differ in learning rate, decay, patience and the like alone: not in what the loss is made of.
    weights : sequence of K mapping
        What each head begins with.
    dtype : torch.dtype
        Of the matrix: products are taken in it, everything else in float32.
    """

    def __init__(
        self,
        network: Network,
        configs: Sequence[MlpConfig],
        *,
        weights: Sequence[Mapping[str, Tensor]],
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self.network, self._dtype = network, dtype
        self._loss_weight, self._contrast = configs[0].weight, configs[0].contrast
        self._weights = {name: torch.stack([w[name] for w in weights]).to(device) for name in network.parameters}
        rates, decays = [c.lr for c in configs], [c.weight_decay for c in configs]
        self._optimizer = AdamW(self._weights, lr=rates, weight_decay=decays)
        self._allocate()

    def __len__(self) -> int:
        return len(next(iter(self._weights.values())))

    def step(self, X: Tensor, labels: Labels) -> Tensor:
        """Take one step on a batch (b, d) of the matrix; return the loss of each head, (K,)."""
        network = self.network
        projected = [value.float().requires_grad_() for value in network.project(X, self._operands())]
        small = {name: self._weights[name].requires_grad_() for name in self._further}
        weights = {**self._weights, **small}
        hidden = network.hidden(projected, weights)
        loss = self._loss(network.logits(hidden, weights), labels)
        if self._contrast:
            loss = loss + self._contrast * contrastive_loss(hidden, labels.y, applies=labels.applies)
        gradients = torch.autograd.grad(loss.sum(), [*projected, *small.values()])
        for value in small.values():
            value.requires_grad_(False)
        self._optimizer.begin_step()
        for projection, gradient in zip(network.projections, gradients, strict=False):
            buffer = self._gradients[f"{projection.name}.weight"]
            self._product(gradient, columns_of(X, projection), out=buffer)
            self._optimizer.update(f"{projection.name}.weight", buffer)
            self._optimizer.update(f"{projection.name}.bias", gradient.sum(0).view(len(self), -1))
        for name, gradient in zip(small, gradients[len(projected) :], strict=True):
            self._optimizer.update(name, gradient)
        return loss.detach()

    def logits(self, X: Tensor) -> dict[str, Tensor]:
        """Return the logits of all heads for rows (n, d) of the matrix."""
        with torch.inference_mode():
            projected = [value.float() for value in self.network.project(X, self._operands())]
            return self.network.logits(self.network.hidden(projected, self._weights), self._weights)

    def evaluate(self, logits: Mapping[str, Tensor], labels: Labels) -> Tensor:
        """Return the loss of each head, (K,)."""
        with torch.inference_mode():
            return self._loss(logits, labels)

    def proba(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the class probabilities of all heads: (K, n), or (K, n, C)."""
        with torch.inference_mode():
            return self.network.objective.proba(logits, self.network.tasks)

    def copy(self, place: int) -> Weights:
        """Return the parameters of one head as they are now, on the CPU."""
        return {name: value[place].to("cpu", copy=True) for name, value in self._weights.items()}

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some heads alone."""
        self._weights = {name: value[list(places)] for name, value in self._weights.items()}
        self._optimizer.keep(self._weights, places)
        self._allocate()

    def _loss(self, logits: Mapping[str, Tensor], labels: Labels) -> Tensor:
        network = self.network
        return network.objective.loss(
            logits,
            labels.y,
            tasks=network.tasks,
            applies=labels.applies,
            weight=self._loss_weight,
            row_weight=labels.weights or None,
        )

    def _allocate(self) -> None:
        # The gradients of the projections are as large as the weights: made anew in each step, their pages alone
        # would cost as much as the product.
        maps = self.network.map_names
        self._further = [name for name in self._weights if name not in maps]
        self._gradients = {name: torch.empty_like(self._weights[name]) for name in maps if name.endswith(".weight")}
        cast = () if self._dtype == torch.float32 else maps
        self._cast = {name: torch.empty_like(self._weights[name], dtype=self._dtype) for name in cast}

    def _operands(self) -> Mapping[str, Tensor]:
        """Return the parameters of the projections in the matrix's dtype."""
        for name, value in self._cast.items():
            value.copy_(self._weights[name])
        return self._cast or self._weights

    def _product(self, gradient: Tensor, X: Tensor, *, out: Tensor) -> None:
        """Write the gradient of a projection's weights, (K, dim, width)."""
        flat = out.view(-1, out.shape[-1])
        if self._dtype == torch.float32:
            torch.mm(gradient.mT, X, out=flat)
        else:
            flat.copy_(gradient.to(self._dtype).mT @ X)
