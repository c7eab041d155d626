"""What is wrong with a cache, and what it costs: rows, producers, and the samples that are left without a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import failed_keys, read_failure_file
from featcache.cache.folder import Cache
from featcache.cache.index import Receipt
from featcache.cache.requests import Request
from featcache.cache.samples import SampleTable
from featcache.cache.shard import Shard, read_shard
from featcache.cache.shard_digests import intact_keys
from featcache.errors import FeatcacheError
from featcache.identity.fingerprint import Fingerprint
from featcache.identity.key_index import KeyIndex
from featcache.identity.outputs import abbreviate
from featcache.identity.terms import CLEAN, Modality
from featcache.store.shard_set import ShardSet
from featcache.upkeep.holding import Holding

__all__ = ["Lack", "Loss", "Note", "Problem", "find_lacks", "find_loss", "sound_holding", "views_of"]

_NO_KEYS = np.empty((0, 32), np.uint8)


@dataclass(frozen=True)
class Loss:
    """What the damage of one shard costs.

    Attributes
    ----------
    producer, modality, model, view : str
        What made the rows, and under which perturbation; ``producer`` is a short fingerprint.
    outputs : tuple of str
        Empty if neither file nor index tells.
    n_rows : int or None
        None if neither file nor index tells.
    samples : mapping of data set to int
        Samples that have no other copy of the vector.
    is_exact : bool
        False if the keys are lost too: ``samples`` then counts all that lack a vector of this producer.
    """

    producer: str
    modality: Modality
    model: str
    view: str
    outputs: tuple[str, ...]
    n_rows: int | None
    samples: Mapping[str, int]
    is_exact: bool

    def __str__(self) -> str:
        rows = "an unknown number of" if self.n_rows is None else f"{self.n_rows:,}"
        what = f"{rows} rows of {self.modality} encoder {self.producer} ({self.model}), view {self.view}"
        if self.outputs:
            what += f", output {abbreviate(self.outputs)}"
        whose = [f"{n:,} samples of data set {name}" for name, n in self.samples.items() if n]
        upper = "" if self.is_exact else "at most "
        return f"{what}: {upper}{' and '.join(whose)}" if whose else f"{what}: no sample needs them"


@dataclass(frozen=True)
class Problem:
    """One damaged, misplaced or missing file.

    Attributes
    ----------
    path : Path
        Where the file is, or should be.
    message : str
        What is wrong, and what to do about it.
    loss : Loss or None
        What is lost with it, if it is a shard.
    home : Path or None
        Where it belongs by its own word, if it is whole and in the place of another.
    is_mendable : bool
        Whether `featcache.upkeep.repair.repair` does something about it.
    """

    path: Path
    message: str
    loss: Loss | None = None
    home: Path | None = None
    is_mendable: bool = True


@dataclass(frozen=True)
class Note:
    """Something that is no damage, but that its owner may want to know."""

    path: Path
    message: str


@dataclass(frozen=True)
class Lack:
    """Contents of a data set that a producer has no vectors of: no damage, but worth knowing.

    Attributes
    ----------
    dataset, producer, model, view, output : str
        ``output`` is ``""`` if the producer has nothing at all.
    n_contents, n_missing, n_failed : int
        Unique captions or pictures of the data set; those that an extraction would encode; those that failed.
    """

    dataset: str
    producer: str
    model: str
    view: str
    output: str
    n_contents: int
    n_missing: int
    n_failed: int


def sound_holding(cache: Cache, fingerprint: Fingerprint, view: str, shards: Sequence[Shard]) -> Holding:
    """Return what a producer holds under a view in sound shards; lists of failures that are damaged are left out."""
    failed = KeyIndex.from_shards([_failed(cache.failure_folder(fingerprint, view))])
    return Holding(fingerprint, view, ShardSet(fingerprint, view, tuple(shards)), failed)


def find_lacks(holding: Holding, table: SampleTable, requests: Sequence[Request]) -> list[Lack]:
    """Count what a producer lacks of a data set, per output that was asked for or is there in part.

    Where it is not on record what was asked for of the data set, every output that the producer has counts.
    """
    own = [request for request in requests if request.dataset == table.dataset]
    producer, view = holding.fingerprint, holding.view
    keys = table.unique_keys(producer.content)
    asked = {o for r in own if r.fingerprint == producer.digest and view in r.views for o in r.outputs}
    return [
        Lack(
            table.dataset,
            producer.short,
            producer.model_name,
            view,
            share.output,
            share.n_contents,
            share.n_missing,
            share.n_failed,
        )
        for share in sorted(holding.shares(keys, asked), key=lambda share: share.output)
        if share.output in asked or share.n_stored or not own
    ]


def find_loss(holding: Holding, path: Path, receipt: Receipt | None, tables: Sequence[SampleTable]) -> Loss:
    """Tell what is lost with a damaged or missing shard, from what can still be read of it and its receipt."""
    shard = _readable(path) or (receipt.shard if receipt else None)
    keys = intact_keys(shard) if shard and path.is_file() else None
    outputs = tuple(sorted(shard.outputs)) if shard else ()
    producer, samples = holding.fingerprint, {}
    for table in tables:
        own = table.keys(producer.content)
        hit = np.zeros(len(table), bool)
        for output in outputs or holding.outputs or ("",):
            hit |= table.has(producer.content) & ~holding.shards.contains(output, own)
        hit &= ~holding.failed.contains(own) if keys is None else KeyIndex.from_shards([keys]).contains(own)
        samples[table.dataset] = int(hit.sum())
    return Loss(
        producer.short,
        producer.modality,
        producer.model_name,
        holding.view,
        outputs,
        shard.n_rows if shard else None,
        samples,
        keys is not None,
    )


def _readable(path: Path) -> Shard | None:
    try:
        return read_shard(path)
    except FeatcacheError:
        return None


def _failed(folder: Path) -> NDArray[np.uint8]:
    found = [_NO_KEYS]
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found.append(failed_keys(read_failure_file(path)))
        except FeatcacheError:
            continue
    return np.concatenate(found)


def views_of(cache: Cache, fingerprint: Fingerprint, requests: Sequence[Request]) -> tuple[str, ...]:
    """Return the views that a producer has or was asked for; the clean one if there is none."""
    asked = {view for request in requests if request.fingerprint == fingerprint.digest for view in request.views}
    return tuple(sorted({*asked, *cache.views(fingerprint)} or {CLEAN}))
