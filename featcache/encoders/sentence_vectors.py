"""What sentence-transformers makes of the last hidden states of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.encoders.loading import lower
from featcache.encoders.pooling import pool
from featcache.encoders.sentence import Dense, SentenceRecipe
from featcache.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear

__all__ = ["SentenceVectors"]


class SentenceVectors:
    """The pooling of a sentence-transformers folder, and the layers that follow it.

    Parameters
    ----------
    recipe : SentenceRecipe
        What the folder's files say.
    n_prompt : int
        So many tokens of each text, from the first on, are not pooled.
    device, compute_dtype : str
        Where the layers are, and in what they compute.
    """

    def __init__(self, recipe: SentenceRecipe, n_prompt: int, *, device: str, compute_dtype: str) -> None:
        self._recipe = recipe
        self._n_prompt = n_prompt
        self._layers = [
            None if layer is None else (layer.activation, lower(_load(layer), compute_dtype).to(device))
            for layer in recipe.layers
        ]

    def __call__(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors (n, d) of texts, given their last hidden states (n, w, hidden) and mask (n, w)."""
        import torch

        vectors = torch.cat([pool(mode, states, mask, self._n_prompt) for mode in self._recipe.pooling], 1)
        for layer in self._layers:
            if layer is None:
                vectors = torch.nn.functional.normalize(vectors.float(), dim=1)
            else:
                activation, linear = layer
                vectors = linear(vectors)
                vectors = vectors if activation == "identity" else getattr(torch, activation)(vectors)
        return vectors


def _load(layer: Dense) -> Linear:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    linear = torch.nn.Linear(layer.n_in, layer.n_out, bias=layer.has_bias)
    try:
        weights = {name.removeprefix("linear."): x for name, x in load_file(layer.weights).items()}
        linear.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{layer.weights} has not the weights that its config.json says: {reason}") from None
    return linear.requires_grad_(False)
