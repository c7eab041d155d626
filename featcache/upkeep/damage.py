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
from featcache.identity.terms import CLEAN

__all__ = ["Holdings", "Lack", "Loss", "Note", "Problem", "views_of"]

_NO_KEYS = np.empty((0, 32), np.uint8)


@dataclass(frozen=True)
class Loss:
    """What the damage of one shard costs.

    Attributes
    ----------
    producer, modality, model, view : str
        Whose rows they were; ``producer`` is a short fingerprint.
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
    modality: str
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
            what += f", output {', '.join(self.outputs)}"
        whose = [f"{n:,} samples of data set {name}" for name, n in self.samples.items() if n]
        upper = "" if self.is_exact else "at most "
        return f"{what}: {upper}{' and '.join(whose)}" if whose else f"{what}: no sample needs them"


@dataclass(frozen=True)
class Problem:
    """One damaged, misplaced or missing file.

    Attributes
    ----------
    path : Path
        The file.
    message : str
        What is wrong, and what to do about it.
    loss : Loss or None
        What is lost with it, if it is a shard.
    home : Path or None
        Where it belongs by its own word, if it is whole and in the place of another.
    """

    path: Path
    message: str
    loss: Loss | None = None
    home: Path | None = None


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
        Unique contents of that side; those without vectors that an extraction would encode; those that failed.
    """

    dataset: str
    producer: str
    model: str
    view: str
    output: str
    n_contents: int
    n_missing: int
    n_failed: int


class Holdings:
    """The contents that the sound shards of one producer and view hold.

    Parameters
    ----------
    cache : Cache
        The folder.
    fingerprint : Fingerprint
        The producer.
    view : str
        The perturbation.
    shards : sequence of Shard
        The sound ones.
    requests : sequence of Request
        What was asked for of the data sets.
    """

    def __init__(
        self, cache: Cache, fingerprint: Fingerprint, view: str, shards: Sequence[Shard], requests: Sequence[Request]
    ) -> None:
        self.fingerprint = fingerprint
        self.view = view
        self._shards = shards
        self._outputs = tuple(sorted({name for shard in shards for name in shard.outputs}))
        self._indices: dict[str, KeyIndex] = {}
        self._asked: dict[str, set[str]] = {}
        for request in requests:
            own = self._asked.setdefault(request.dataset, set())
            if request.fingerprint == fingerprint.digest and view in request.views:
                own.update(request.outputs)
        self._failed = KeyIndex.from_shards([_failed(cache.failure_folder(fingerprint, view))])

    def _missing(self, output: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        if output not in self._indices:
            holders = [shard for shard in self._shards if output in shard.outputs]
            self._indices[output] = KeyIndex.from_shards([shard.map(shard.key) for shard in holders])
        return ~self._indices[output].contains(keys)

    def lacks(self, table: SampleTable) -> list[Lack]:
        """Count what this producer lacks of a data set, per output that was asked for or is there in part."""
        asked = self._asked.get(table.dataset)
        keys = table.unique_keys(self.fingerprint.modality)
        failed = self._failed.contains(keys)
        found = []
        for output in sorted({*self._outputs, *(asked or ())}) or ("",):
            missing = self._missing(output, keys)
            if asked is not None and output not in asked and missing.all():
                continue
            n_failed = int((missing & failed).sum())
            n_missing = int(missing.sum()) - n_failed
            producer = self.fingerprint
            found.append(
                Lack(
                    table.dataset,
                    producer.short,
                    producer.model_name,
                    self.view,
                    output,
                    len(keys),
                    n_missing,
                    n_failed,
                )
            )
        return found

    def loss(self, path: Path, receipt: Receipt | None, tables: Sequence[SampleTable]) -> Loss:
        """Tell what is lost with a damaged or missing shard, from what can still be read of it and its receipt."""
        shard = _readable(path) or (receipt.shard if receipt else None)
        keys = intact_keys(shard) if shard and path.is_file() else None
        outputs = tuple(sorted(shard.outputs)) if shard else ()
        samples = {}
        for table in tables:
            has = table.has(self.fingerprint.modality)
            own = table.keys(self.fingerprint.modality)
            hit = np.zeros(len(table), bool)
            for output in outputs or self._outputs or ("",):
                hit |= has & self._missing(output, own)
            if keys is None:
                hit &= ~self._failed.contains(own)
            else:
                hit &= KeyIndex.from_shards([keys]).contains(own)
            samples[table.dataset] = int(hit.sum())
        producer = self.fingerprint
        n_rows = shard.n_rows if shard else None
        return Loss(
            producer.short,
            producer.modality,
            producer.model_name,
            self.view,
            outputs,
            n_rows,
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
