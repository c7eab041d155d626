"""From the last hidden states of a text's tokens to one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["POOLING_MODES", "pool"]

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Names as sentence-transformers has them, in the order in which it joins several."""


def pool(mode: str, states: Tensor, mask: Tensor, skip: int = 0) -> Tensor:
    """Pool the tokens of each text.

    Parameters
    ----------
    mode : str
        One of `POOLING_MODES`. ``weightedmean`` weighs a token by its position, counted from 1.
    states : (n, w, d) tensor
        Hidden states of texts that are padded on the right.
    mask : (n, w) tensor
        1 where there is a token of the text.
    skip : int
        So many tokens of each text, from the first on, are left out.

    Returns
    -------
    (n, d) tensor
        float32; no number where a text has no token.
    """
    import torch

    states = states.float()
    if mode == "cls" and not skip:
        return states[:, 0]
    positions = torch.arange(mask.shape[1], device=mask.device)
    counted = mask * (positions >= skip)
    if mode in ("cls", "lasttoken"):
        at = counted.argmax(1) if mode == "cls" else mask.sum(1).clamp(min=1) - 1
        rows = torch.arange(len(states), device=states.device)
        return states[rows, at].masked_fill(~counted.any(1, keepdim=True), float("nan"))
    if mode == "max":
        return states.masked_fill(counted.unsqueeze(-1) == 0, float("-inf")).amax(1)
    weights = (counted * (positions + 1) if mode == "weightedmean" else counted).unsqueeze(-1).to(states.dtype)
    total = weights.sum(1)
    return (states * weights).sum(1) / (total.sqrt() if mode == "mean_sqrt_len_tokens" else total)
