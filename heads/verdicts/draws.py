"""Independent draws: one row of each group."""

from __future__ import annotations

import numpy as np

from heads.data.tasks import IntArray

__all__ = ["draw_one_a_group"]


def draw_one_a_group(groups: IntArray, *, seed: int = 0) -> IntArray:
    """Draw a row of each group at random: indices into ``groups``, rising."""
    order = np.random.default_rng(seed).permutation(len(groups))
    return np.sort(order[np.unique(groups[order], return_index=True)[1]])
