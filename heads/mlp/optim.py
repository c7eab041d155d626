"""AdamW for stacks of heads, each with its own learning rate and decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["AdamW"]

_BETAS = (0.9, 0.999)
_EPS = 1e-8


class AdamW:
    """Decoupled weight decay, with torch's defaults, on parameters whose leading axis counts heads.

    Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2, arXiv:1711.05101.

    The arithmetic is torch's own kernel, which goes once over the memory: five times faster than the same update in
    single operations, blocked or not. `torch.optim` would do for one learning rate a step, but imports the compiler
    (seconds) and cannot drop the state of a head that has stopped.

    Parameters
    ----------
    parameters : mapping of name to float32 tensor (K, ...)
        Updated in place.
    lr, weight_decay : sequence of K float
    """

    def __init__(self, parameters: Mapping[str, Tensor], *, lr: Sequence[float], weight_decay: Sequence[float]) -> None:
        self._rates = list(zip(lr, weight_decay, strict=True))
        self._means = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._squares = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._cut(parameters)
        self._count = torch.zeros((), device=self._device)

    def begin_step(self) -> None:
        """Count a step; `update` then takes the gradients, in any number of calls."""
        self._count += 1

    def update(self, name: str, gradient: Tensor) -> None:
        """Update one parameter of all heads with its gradient (K, ...) of this step."""
        gradients = gradient.contiguous().unbind()  # the kernel goes over the memory and does not look at strides
        for (lr, weight_decay), (heads, state) in self._groups.items():
            parameters, means, squares = state[name]
            torch._fused_adamw_(
                parameters,
                [gradients[k] for k in heads],
                means,
                squares,
                [],
                [self._count] * len(heads),
                lr=lr,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=weight_decay,
                eps=_EPS,
                amsgrad=False,
                maximize=False,
            )

    def keep(self, parameters: Mapping[str, Tensor], heads: Sequence[int]) -> None:
        """Go on with some heads alone, whose ``parameters`` are given anew."""
        index = torch.tensor(heads, device=self._device)
        self._means = {name: value[index] for name, value in self._means.items()}
        self._squares = {name: value[index] for name, value in self._squares.items()}
        self._rates = [self._rates[k] for k in heads]
        self._cut(parameters)

    def _cut(self, parameters: Mapping[str, Tensor]) -> None:
        """Group the heads by their rates: one call each. The state of a head is a view of the stack's."""
        self._device = next(iter(parameters.values())).device
        groups: dict[tuple[float, float], list[int]] = {}
        for k, rates in enumerate(self._rates):
            groups.setdefault(rates, []).append(k)
        stacks = (parameters, self._means, self._squares)
        self._groups = {
            rates: (heads, {name: tuple([stack[name][k] for k in heads] for stack in stacks) for name in parameters})
            for rates, heads in groups.items()
        }
