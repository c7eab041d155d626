"""What one producer holds under one view, and what of a data set it lacks: the one place that counts it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import KeyIndex
from featcache.identity.outputs import natural_order
from featcache.store.shard_set import ShardSet

__all__ = ["Holding", "Share"]


@dataclass(frozen=True)
class Share:
    """How much of some contents is stored of one output.

    Attributes
    ----------
    output : str
        Its name; ``""`` if the producer has stored nothing at all.
    n_contents : int
        How many were looked up.
    n_stored : int
        How many have a vector.
    n_failed : int
        How many have none because they failed.
    """

    output: str
    n_contents: int
    n_stored: int
    n_failed: int

    @property
    def n_missing(self) -> int:
        """Contents that are neither stored nor failed: an extraction would encode them."""
        return self.n_contents - self.n_stored - self.n_failed


@dataclass(frozen=True)
class Holding:
    """What one producer has stored under one view, and on which contents it failed.

    Attributes
    ----------
    fingerprint : Fingerprint
        The producer of the vectors.
    view : str
        The perturbation under which contents were encoded.
    shards : ShardSet
        What it has stored: all of it, or what of it is sound.
    failed : KeyIndex
        Contents that it failed on, whether or not they were stored later.
    """

    fingerprint: Fingerprint
    view: str
    shards: ShardSet
    failed: KeyIndex

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs of which anything is stored, in alphabetical order."""
        return tuple(sorted({name for shard in self.shards.shards for name in shard.outputs}))

    def lacks(self, output: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which contents are neither stored nor failed: (n,)."""
        return ~(self.shards.contains(output, keys) | self.failed.contains(keys))

    def shares(self, keys: NDArray[np.uint8], asked: Collection[str]) -> list[Share]:
        """Count what is stored of contents (n, 32), by output: of those that are there, and those asked for."""
        failed = self.failed.contains(keys)
        found = []
        for output in natural_order({*self.outputs, *asked}) or ("",):
            stored = self.shards.contains(output, keys)
            found.append(Share(output, len(keys), int(stored.sum()), int((failed & ~stored).sum())))
        return found
