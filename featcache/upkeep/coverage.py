"""How far the producers of a cache cover the contents of a data set, and which parts of a division are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import failed_keys, failure_views, read_failures
from featcache.cache.folder import Cache
from featcache.cache.index import Receipt
from featcache.cache.plans import FrozenPlan, FrozenProducer, array_expression
from featcache.cache.requests import Request
from featcache.cache.samples import SampleTable
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import KeyIndex
from featcache.identity.terms import CONTENTS, Modality
from featcache.store.shard_set import ShardSet
from featcache.upkeep.holding import Holding, Share

__all__ = ["Coverage", "Division", "cover", "divide", "find_holdings"]


@dataclass(frozen=True)
class Coverage:
    """How much of a data set's contents one producer has.

    Attributes
    ----------
    producer, modality, view, output : str
        Which vectors; ``producer`` is a short fingerprint, ``output`` is ``""`` if it has stored nothing at all.
    n_contents, n_stored, n_failed : int
        Unique captions or pictures of the data set, those stored, and those that are not because they failed.
    is_wanted : bool
        Whether this was asked for of this data set, or is there in part. False: what is stored under this name is of
        other data sets. Where it is not on record what was asked for: whether the producer holds any of its contents,
        or no other of its modality does.
    """

    producer: str
    modality: Modality
    view: str
    output: str
    n_contents: int
    n_stored: int
    n_failed: int
    is_wanted: bool

    @property
    def n_missing(self) -> int:
        """Contents that are neither stored nor failed."""
        return self.n_contents - self.n_stored - self.n_failed


@dataclass(frozen=True)
class Division:
    """An extraction in parts of which some are not done.

    Attributes
    ----------
    count, unit_rows : int
        How many parts there are, and contents a run.
    missing : str
        Parts that have something left to do, as a job array takes them: ``0-3,7``.
    producers : tuple of FrozenProducer
        What is to be made with each encoder.
    """

    count: int
    unit_rows: int
    missing: str
    producers: tuple[FrozenProducer, ...]


def find_holdings(
    cache: Cache, producers: Sequence[Fingerprint], known: Mapping[Path, Receipt], requests: Sequence[Request]
) -> list[Holding]:
    """Open what producers have under the views that they have, or were asked for; the clean one if there is none."""
    asked = {(request.fingerprint, view) for request in requests for view in request.views}
    found = [
        Holding(
            fingerprint,
            view,
            ShardSet.open(cache, fingerprint, view, known=known),
            KeyIndex.from_shards([failed_keys(read_failures(cache, fingerprint, view))]),
        )
        for fingerprint in producers
        for view in sorted({*failure_views(cache, fingerprint), *(v for f, v in asked if f == fingerprint.digest)})
    ]
    # Of a producer that was run, the clean view is only wanted if it was begun or asked for.
    begun = [
        (h.fingerprint.digest, h.view) in asked
        or cache.shard_folder(h.fingerprint, h.view).is_dir()
        or len(h.failed.keys) > 0
        for h in found
    ]
    known_at_all = {h.fingerprint.digest for h, is_begun in zip(found, begun, strict=True) if is_begun}
    return [h for h, is_begun in zip(found, begun, strict=True) if is_begun or h.fingerprint.digest not in known_at_all]


def cover(table: SampleTable, holdings: Sequence[Holding], requests: Sequence[Request] = ()) -> tuple[Coverage, ...]:
    """Count what is stored of a data set, of which this was asked for: one line per producer, view and output."""
    asked = {(r.fingerprint, view, output) for r in requests for view in r.views for output in r.outputs}
    contents = {content: table.unique_keys(content) for content in CONTENTS}
    found: list[tuple[Holding, Share]] = []
    for holding in holdings:
        wanted = {o for f, view, o in asked if (f, view) == (holding.fingerprint.digest, holding.view)}
        found += [(holding, share) for share in holding.shares(contents[holding.fingerprint.content], wanted)]
    begun = {holding.fingerprint.modality for holding, share in found if share.n_stored + share.n_failed}
    return tuple(
        Coverage(
            producer=holding.fingerprint.short,
            modality=holding.fingerprint.modality,
            view=holding.view,
            output=share.output,
            n_contents=share.n_contents,
            n_stored=share.n_stored,
            n_failed=share.n_failed,
            is_wanted=bool(share.n_stored + share.n_failed)
            or (holding.fingerprint.digest, holding.view, share.output) in asked
            or (not asked and (not share.output or holding.fingerprint.modality not in begun)),
        )
        for holding, share in found
    )


def divide(table: SampleTable, plans: Sequence[FrozenPlan], holdings: Sequence[Holding]) -> tuple[Division, ...]:
    """Find the divisions of a data set that are not finished; those of other contents than it has now are left out."""
    by_place = {(h.fingerprint.digest, h.view): h for h in holdings}

    def lacks(producer: str, view: str, output: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        holding = by_place.get((producer, view))
        return np.ones(len(keys), bool) if holding is None else holding.lacks(output, keys)

    return tuple(
        Division(plan.count, plan.unit_rows, array_expression(missing), plan.producers)
        for plan in plans
        if (missing := plan.parts_missing(table, lacks))
    )
