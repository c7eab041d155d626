"""The blocks of a transformer, and what comes out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featcache.errors import ModelError
from featcache.identity.outputs import CLASS_TOKENS, is_layer, layer_family, layer_number

__all__ = ["BlockOutputs", "find_blocks", "n_blocks"]

_N_BLOCKS = ("num_hidden_layers", "n_layers", "num_layers")
_BLOCK_LISTS = ("layer", "layers", "block", "blocks")


def n_blocks(config: Mapping[str, Any]) -> int:
    """Return how many blocks a model's configuration states; 0 if it does not."""
    stated = (config.get(name) for name in _N_BLOCKS)
    return next((n for n in stated if isinstance(n, int) and not isinstance(n, bool) and n > 0), 0)


def find_blocks(model: Any, expected: int, name: str) -> Any:
    """Return the list of a model's blocks, first to last.

    Raises
    ------
    ModelError
        If it has not exactly one list of that many.
    """
    import torch

    found = [
        module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList | torch.nn.Sequential)
        and path.rpartition(".")[2] in _BLOCK_LISTS
        and len(module) == expected
    ]
    if len(found) != 1:
        raise ModelError(
            f"model {name!r} has {len(found)} lists of {expected} blocks, expected one: "
            "what its layers put out cannot be told, take its other outputs"
        )
    return found[0]


class BlockOutputs:
    """Keeps what some blocks put out, pooled, while a model runs.

    A block's output is that before any norm which follows the last block. Only a vector of each is kept, so a
    picture's hidden states are freed as the forward goes on. For one forward at a time.

    Parameters
    ----------
    model : torch.nn.Module
        The model; cut off after the last block that is needed if nothing else is wanted of it.
    outputs : sequence of str
        What is wanted; ``layers:k`` is the first token that the k-th block puts out, ``layers_mean:k`` what ``mean``
        makes of its tokens.
    expected : int
        How many blocks the model has.
    name : str
        What messages call the model.
    mean : callable
        Pools tokens (n, t, d) to (n, d); needed if a ``layers_mean:k`` is wanted.
    """

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str],
        expected: int,
        name: str,
        *,
        mean: Callable[[Any], Any] | None = None,
    ) -> None:
        self._kept: dict[str, Any] = {}
        wanted = {output: number for output in outputs if (number := layer_number(output)) is not None}
        if not wanted:
            return
        blocks = find_blocks(model, expected, name)
        for output, number in wanted.items():
            pool = _first if layer_family(output) == CLASS_TOKENS or mean is None else mean
            blocks[number - 1].register_forward_hook(self._keeper(output, pool))
        if all(map(is_layer, outputs)):
            del blocks[max(wanted.values()) :]

    def _keeper(self, output: str, pool: Callable[[Any], Any]) -> Any:
        def keep(_block: Any, _inputs: Any, result: Any) -> None:
            self._kept[output] = pool(result[0] if isinstance(result, tuple) else result)

        return keep

    def take(self) -> dict[str, Any]:
        """Return the vectors (n, d) of the last forward by name of the output, and forget them."""
        kept, self._kept = self._kept, {}
        return kept


def _first(tokens: Any) -> Any:
    return tokens[:, 0].clone()
