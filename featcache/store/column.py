"""Where the vectors of one output lie: which row of which shard, content by content."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.store.window import Window

__all__ = ["Column"]


@dataclass(frozen=True, eq=False)
class Column:
    """Where the vectors of one output lie.

    Attributes
    ----------
    output : str
        Name of the output.
    width : int
        How many columns its vectors have.
    shard : (n,) unsigned int
        Number of the shard; the number of shards where there is no vector.
    row : (n,) int32 or int64
        Number of the row in that shard.
    """

    output: str
    width: int
    shard: NDArray[np.unsignedinteger]
    row: NDArray[np.int32] | NDArray[np.int64]

    @cached_property
    def only_shard(self) -> int | None:
        """Number of the shard in which all rows are, if they are in one."""
        is_one = len(self.shard) > 0 and bool((self.shard == self.shard[0]).all())
        return int(self.shard[0]) if is_one else None

    def positions(self, window: Window) -> NDArray[np.int64]:
        """Return where the vectors lie in a window of their shards: (n,), kept as long as both are."""
        found = window.known.get(self)
        if found is None:
            found = window.known[self] = window.positions(self.shard, self.row)
        return found

    @cached_property
    def breaks(self) -> NDArray[np.int64]:
        """Positions whose vector is not the one after that of the position before, ascending."""
        is_break = self.shard[1:] != self.shard[:-1]
        is_break |= self.row[1:] - self.row[:-1] != 1
        return np.flatnonzero(is_break) + 1
