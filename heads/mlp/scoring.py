"""Score rows with many heads at once: heads that take the same columns share one wide product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heads.errors import HeadsError
from heads.head.protocol import FloatArray, Prediction
from heads.head.scaling import check_features, check_finite
from heads.mlp.network import FittedNetwork, Network
from heads.mlp.threads import one_thread_if_tiny

__all__ = ["predict_pack"]

_ROWS = 1024


def predict_pack(heads: Sequence[FittedNetwork], X: FloatArray) -> list[Prediction]:
    """Return the class probabilities of the same rows by each head.

    Standardisation is folded into the weights: X is centred once for all heads (float32 loses nothing there), and
    what a head's own mean differs by goes into its bias.

    Parameters
    ----------
    heads : sequence of FittedNetwork
        Fitted on the same columns, perhaps on different rows of them.
    X : float32 array (n, d)
        Raw vectors.
    """
    n_features = len(heads[0].scaler.mean)
    if any(len(head.scaler.mean) != n_features for head in heads):
        raise HeadsError(f"heads take {sorted({len(h.scaler.mean) for h in heads})!r} columns, expected one number")
    check_features(X, n_features=n_features)
    stacks: dict[Network, list[int]] = {}
    for place, head in enumerate(heads):
        stacks.setdefault(head.network, []).append(place)
    # Weights of a file may be of any size: what is not finite then is told from the result.
    with np.errstate(over="ignore", invalid="ignore"):
        centre = heads[0].scaler.mean.astype(np.float32)
        maps = [_fold([heads[k] for k in places], centre) for places in stacks.values()]
    further = [_stack_further([heads[k] for k in places]) for places in stacks.values()]
    wide = _Wide([part for stack in maps for part in stack])
    parts: list[list[Mapping[str, FloatArray]]] = [[] for _ in heads]
    for start in range(0, max(len(X), 1), _ROWS):
        with (
            one_thread_if_tiny(head.network for head in heads),
            torch.inference_mode(),
            np.errstate(over="ignore", invalid="ignore"),
        ):
            values = wide.multiply(torch.from_numpy(X[start : start + _ROWS] - centre))
            for (network, places), weights in zip(stacks.items(), further, strict=True):
                proba = _proba(network, values, weights)
                for k, place in enumerate(places):
                    parts[place].append({name: value[k].numpy() for name, value in proba.items()})
    return [_join(found) for found in parts]


@dataclass(frozen=True)
class _Map:
    """A linear map of some columns, of K heads: weight (K * dim, width), bias (K * dim,)."""

    start: int
    stop: int
    weight: Tensor
    bias: Tensor


class _Wide:
    """Maps, of which those that take the same columns are one product; their results come back in order."""

    def __init__(self, maps: Sequence[_Map]) -> None:
        places: dict[tuple[int, int], list[int]] = {}
        for place, part in enumerate(maps):
            places.setdefault((part.start, part.stop), []).append(place)
        self._order = np.argsort([place for group in places.values() for place in group])
        self._products = []
        for (start, stop), group in places.items():
            weight, bias = (torch.cat([getattr(maps[k], name) for k in group]) for name in ("weight", "bias"))
            self._products.append((slice(start, stop), weight.mT, bias, [len(maps[k].bias) for k in group]))

    def multiply(self, X: Tensor) -> Iterator[Tensor]:
        """Return the result (n, K * dim) of each map, in order."""
        parts: list[Tensor] = []
        for span, weight, bias, sizes in self._products:
            parts += torch.split(torch.addmm(bias, X[:, span], weight), sizes, dim=1)
        return iter([parts[place] for place in self._order])


def _fold(heads: Sequence[FittedNetwork], centre: FloatArray) -> list[_Map]:
    """Return the maps of heads of one network: those of each projection, block by block, on centred columns."""
    maps = []
    for p in heads[0].network.projections:
        for start in range(p.start, p.stop, p.width):
            span = slice(start, start + p.width)
            weights, biases = [], []
            for head in heads:
                weight = head.weights[f"{p.name}.weight"].double().numpy() * head.scaler.inverse_scale[span]
                shift = head.scaler.mean[span] - centre[span]
                weights.append(torch.from_numpy(weight).float())
                biases.append(head.weights[f"{p.name}.bias"] - torch.from_numpy(weight @ shift).float())
            maps.append(_Map(span.start, span.stop, torch.cat(weights), torch.cat(biases)))
    return maps


def _stack_further(heads: Sequence[FittedNetwork]) -> dict[str, Tensor]:
    network = heads[0].network
    names = [name for name in network.parameters if name not in network.map_names]
    return {name: torch.stack([head.weights[name] for head in heads]) for name in names}


def _proba(network: Network, values: Iterator[Tensor], weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    projected = []
    for p in network.projections:
        blocks = [next(values) for _ in range(p.n_blocks)]
        projected.append(blocks[0] if p.n_blocks == 1 else torch.stack(blocks, dim=1).flatten(0, 1))
    logits = network.logits(network.hidden(projected, weights), weights)
    for name, value in logits.items():
        check_finite(value.numpy(), f"the prediction of {name!r}")
    return network.objective.proba(logits, network.tasks)


def _join(parts: Sequence[Mapping[str, FloatArray]]) -> Prediction:
    return Prediction({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
