"""Steps on full batches as a recorded graph of a CUDA device, which repeats it without being told each operation.

A step of a pack is some hundred small kernels. Telling the device of each takes longer than the kernels do: a graph is
told of once and then started as a whole, the packs beside each other (CUDA C++ Programming Guide, "CUDA Graphs").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heads.mlp.pack import Labels, Pack

__all__ = ["Replay", "step_all"]

_WARM_UP = 2  # steps taken as they are: in these libraries choose their kernels and take their memory

Packs = Sequence[tuple[Pack, slice]]
"""Each with the columns that it takes."""


def step_all(packs: Packs, X: Tensor, labels: Labels) -> list[Tensor]:
    """Let every pack take a step on a batch (b, d) of the matrix; return the losses of each, (K,)."""
    return [pack.step(X[:, span], labels) for pack, span in packs]


class Replay:
    """`step_all` on a CUDA device, replayed where a batch is full.

    Parameters
    ----------
    packs : sequence of (Pack, slice)
        They keep the heads that they have.
    batch_size : int
        Of a full batch.
    """

    def __init__(self, packs: Packs, *, batch_size: int) -> None:
        self._packs, self._batch_size = packs, batch_size
        self._n_warm = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._beside: list[torch.cuda.Stream] = [torch.cuda.Stream() for _ in packs]  # type: ignore[no-untyped-call]

    def __call__(self, X: Tensor, labels: Labels) -> list[Tensor]:
        """Take the steps."""
        if len(X) != self._batch_size:
            return step_all(self._packs, X, labels)
        if self._n_warm < _WARM_UP:
            self._n_warm += 1
            return self._step_beside(X, labels)
        if self._graph is None:
            self._X, self._labels = torch.empty_like(X), labels.map(torch.empty_like)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._losses = self._step_beside(self._X, self._labels)
        self._X.copy_(X)
        self._labels.copy_(labels)
        self._graph.replay()
        return [loss.clone() for loss in self._losses]

    def _step_beside(self, X: Tensor, labels: Labels) -> list[Tensor]:
        """Take the steps of each pack on a stream of its own."""
        main, losses = torch.cuda.current_stream(), []
        for (pack, span), beside in zip(self._packs, self._beside, strict=True):
            beside.wait_stream(main)
            with torch.cuda.stream(beside):
                losses.append(pack.step(X[:, span], labels))
        for beside in self._beside:
            main.wait_stream(beside)
        return losses
