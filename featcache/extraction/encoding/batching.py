"""Which captions go through an encoder at once: of similar length, and not too many tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["token_batches"]

_TOKENS_A_ROW = 32
_SHORT_ROWS = 4
_MOST_PADDING = 1.10
_LEAST_ROWS = 16


def token_batches(lengths: Sequence[int], n_rows: int) -> list[NDArray[np.int64]]:
    """Cut texts into batches of similar length.

    The shortest come first. A batch ends before it has more than ``32 n_rows`` tokens, padding included, or more
    than ``4 n_rows`` texts; and, once it has 16, before padding adds more than a tenth.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    n_rows : int
        Size of a batch of pictures on the same device.

    Returns
    -------
    list of (m,) int64
        Positions in ``lengths``, each once; of equal lengths the first first.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start, real = 0, 0
    for end, position in enumerate(order):
        longest = max(1, lengths[position])
        n = end - start + 1
        is_padded = n > _LEAST_ROWS and n * longest > _MOST_PADDING * (real + longest)
        if n > 1 and (n * longest > _TOKENS_A_ROW * n_rows or n > _SHORT_ROWS * n_rows or is_padded):
            batches.append(order[start:end])
            start, real = end, 0
        real += longest
    if start < len(order):
        batches.append(order[start:])
    return batches
