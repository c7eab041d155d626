"""Why contents are not cached although another producer holds them: the fields in which the two differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import Cache
from featcache.errors import FeatcacheError, ShardError
from featcache.identity.fingerprint import FieldChange, Fingerprint, diff_documents
from featcache.identity.terms import MODALITIES
from featcache.store.selection import find_producers
from featcache.store.shard_set import ShardSet

__all__ = ["NearMiss", "ProducerDiff", "diff_producers", "find_producer", "near_misses"]


@dataclass(frozen=True)
class NearMiss:
    """Another producer of the same modality that holds contents which the one asked for lacks.

    Attributes
    ----------
    fingerprint, model : str
        Digest and model's name of the other producer.
    n_contents : int
        How many of the missing contents it holds.
    changes : tuple of FieldChange
        What changes from the other producer to the one asked for.
    """

    fingerprint: str
    model: str
    n_contents: int
    changes: tuple[FieldChange, ...]


@dataclass(frozen=True)
class ProducerDiff:
    """Two producers of a cache and the fields of their identities that differ.

    Attributes
    ----------
    a, b : Fingerprint
        The two producers that are compared.
    changes : tuple of FieldChange
        What changes from ``a`` to ``b``; none if they are the same.
    """

    a: Fingerprint
    b: Fingerprint
    changes: tuple[FieldChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``featcache diff --json`` prints."""
        sides = {
            name: {"fingerprint": f.digest, "modality": f.modality, "source": dict(f.source)}
            for name, f in (("a", self.a), ("b", self.b))
        }
        return sides | {"changes": [vars(change) for change in self.changes]}


def near_misses(cache: Cache, wanted: Fingerprint, view: str, keys: NDArray[np.uint8]) -> tuple[NearMiss, ...]:
    """Find the other producers that hold contents, most contents first.

    Parameters
    ----------
    cache : Cache
        The cache to look into.
    wanted : Fingerprint
        The producer that lacks them.
    view : str
        The perturbation under which they are missing.
    keys : (n, 32) uint8
        Keys of the contents that it lacks.
    """
    found = []
    for other in cache.producers.values() if len(keys) else ():
        if other.modality != wanted.modality or other.digest == wanted.digest:
            continue
        try:
            stored = ShardSet.open(cache, other, view)
            held = np.zeros(len(keys), bool)
            for name in stored.widths:
                held |= stored.contains(name, keys)
        except (ShardError, OSError):
            # What is damaged is no advice, and `verify` tells of it.
            continue
        if held.any():
            changes = diff_documents(other.identity, wanted.identity)
            found.append(NearMiss(other.digest, other.model_name, int(held.sum()), changes))
    return tuple(sorted(found, key=lambda miss: (-miss.n_contents, miss.fingerprint)))


def find_producer(cache: Cache, name: str) -> Fingerprint:
    """Return the one producer that a name means.

    Parameters
    ----------
    cache : Cache
        The cache to look into.
    name : str
        Beginning of a fingerprint, or a model's name.

    Raises
    ------
    FeatcacheError
        If none or several fit; what there is is listed.
    """
    fitting = [f for modality in MODALITIES for f in find_producers(cache, modality, name)]
    if len(fitting) != 1:
        known = ", ".join(f"{f.modality} {f.short} ({f.model_name})" for f in cache.producers.values()) or "none yet"
        raise FeatcacheError(
            f"cache {str(cache.path)!r}: {name!r} fits {len(fitting)} encoders, expected exactly one; it has: {known}"
        )
    return fitting[0]


def diff_producers(cache: Cache, a: str, b: str) -> ProducerDiff:
    """Compare two producers of a cache, each by the beginning of its fingerprint or its model's name."""
    first, second = find_producer(cache, a), find_producer(cache, b)
    return ProducerDiff(first, second, diff_documents(first.identity, second.identity))
