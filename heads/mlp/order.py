"""The order in which the rows of an epoch are seen."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["SHARED_ORDER", "RowOrder"]

_PIECE_ROWS = 256
SHARED_ORDER = 2**32 - 1
"""The seed of the order that all heads of a pack share: no head's own (those are smaller than 2**31)."""

_OFFSET = 2**31


class RowOrder:
    """A permutation of the rows for each epoch, and a view for each row: drawn apart from the weights.

    Parameters
    ----------
    rows : int64 tensor (n,)
        What is permuted.
    seed : int
        Heads with the same seed see the same order, whatever else they differ in.
    n_views : int
        Each row takes one of them in each epoch, all equally likely, whatever the row's class.
    window : int or None
        None: any permutation. Else pieces of neighbouring rows are permuted, and rows within windows of so many: what
        has to be read from a disk comes piece by piece.
    """

    def __init__(self, rows: Tensor, *, seed: int, n_views: int, window: int | None) -> None:
        self.rows, self.n_views, self._window = rows, n_views, window
        self._generator = torch.Generator().manual_seed(_OFFSET + seed)

    def epoch(self) -> tuple[Tensor, Tensor | None]:
        """Return the next epoch: places in ``rows``, and views (None: there is one)."""
        n, generator = len(self.rows), self._generator
        order = torch.randperm(n, generator=generator) if self._window is None else torch.cat(list(self._windows()))
        if self.n_views == 1:
            return order, None
        return order, torch.randint(self.n_views, (n,), generator=generator, dtype=torch.int16)

    def _windows(self) -> Iterator[Tensor]:
        assert self._window is not None
        n = len(self.rows)
        pieces = torch.randperm(-(-n // _PIECE_ROWS), generator=self._generator)
        for part in torch.split(pieces, max(1, self._window // _PIECE_ROWS)):
            rows = (part[:, None] * _PIECE_ROWS + torch.arange(_PIECE_ROWS)).flatten()
            rows = rows[rows < n]
            yield rows[torch.randperm(len(rows), generator=self._generator)]
