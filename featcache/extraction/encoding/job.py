"""Work units while they are encoded: rows arrive in batches, vectors are put in their places."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure
from featcache.cache.shard_writing import storable
from featcache.extraction.fault import Fault
from featcache.extraction.planning.plan import WorkUnit

__all__ = ["SPLIT_SECONDS", "Batch", "EncodedUnit", "Job"]

SPLIT_SECONDS = 300.0
"""Time since the first vectors of a unit from which on what is done of it is split off and published."""


@dataclass(frozen=True)
class EncodedUnit:
    """What came of a work unit, or is split off of one.

    Attributes
    ----------
    unit : WorkUnit
        Which it was.
    rows : (m,) int64
        Rows of the sample table, ascending.
    vectors : mapping of output name to (m, d) float32
        Their vectors.
    failures : tuple of Failure
        Contents that have none.
    decoders : mapping of str to str
        Versions of those who decoded some of the pictures, beside Pillow.
    """

    unit: WorkUnit
    rows: NDArray[np.int64]
    vectors: Mapping[str, NDArray[np.float32]]
    failures: tuple[Failure, ...]
    decoders: Mapping[str, str]


class Job:
    """One work unit of one encoder and view, in work; what is done of it may be split off.

    Parameters
    ----------
    side : int
        Number of the encoder and view.
    unit : WorkUnit
        What to encode.
    storage_dtype : str
        What the vectors must fit into.

    Attributes
    ----------
    in_hand : WorkUnit
        The unit, or what is left of it since something was split off.
    failures : list of Failure
        Contents of this one that failed.
    n_tried : int
        Rows that were encoded.
    decoders : dict of str to str
        Versions of those who decoded some of its pictures, beside Pillow.
    is_void : bool
        Whether what is in hand is not to be used: it is begun again, as another job.
    """

    def __init__(self, side: int, unit: WorkUnit, storage_dtype: str) -> None:
        self.side = side
        self.unit = unit
        self.n_tried = 0
        self.failures: list[Failure] = []
        self.decoders: dict[str, str] = {}
        self.is_void = False
        self._since: float | None = None
        self._storage_dtype = storage_dtype
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._has, self._has_failed, self._is_published = np.zeros((3, len(unit.contents)), bool)
        self._begin(unit)

    @property
    def key(self) -> tuple[int, str]:
        """What names it among the jobs of a pass."""
        return self.side, self.unit.name

    def add(self, rows: NDArray[np.int64], encoded: Mapping[str, NDArray[np.float32]]) -> list[tuple[int, Fault]]:
        """Take vectors in.

        Parameters
        ----------
        rows : (m,) int64
            Rows of the sample table.
        encoded : mapping of output name to (m, d) float32
            Their vectors; outputs that the unit does not want are left aside.

        Returns
        -------
        list of (row, Fault)
            Rows with a vector that cannot be stored: they have none of their vectors.
        """
        self.n_tried += len(rows)
        if self._since is None:
            self._since = time.monotonic()
        good = np.ones(len(rows), bool)
        faults: list[tuple[int, Fault]] = []
        for name in self.unit.outputs:
            fits = storable(encoded[name], self._storage_dtype)
            for i in np.flatnonzero(good & ~fits):
                worst = float(np.abs(encoded[name][i]).max())
                reason = f"output {name!r} reaches {worst:.3g}, which {self._storage_dtype} cannot hold"
                faults.append((int(rows[i]), Fault("encode", "ValueError", reason)))
            good &= fits
        at = np.searchsorted(self.unit.contents, rows[good])
        for name in self.unit.outputs:
            vectors = encoded[name]
            if name not in self._vectors:
                self._vectors[name] = np.empty((len(self._has), vectors.shape[1]), np.float32)
            self._vectors[name][at] = vectors[good]
        self._has[at] = True
        return faults

    @property
    def is_due(self) -> bool:
        """Whether what is done should be published, as the rest may take long."""
        return not self.is_void and self._since is not None and time.monotonic() - self._since >= SPLIT_SECONDS

    @property
    def n_void(self) -> int:
        """Rows that were encoded in vain, if it is void: all but those that were split off."""
        return self.n_tried - (len(self.unit.contents) - len(self.in_hand.contents))

    @property
    def left(self) -> NDArray[np.int64]:
        """Contents that neither have their vectors nor failed."""
        return self.unit.contents[~(self._has | self._has_failed)]

    @property
    def lacking(self) -> NDArray[np.int64]:
        """Contents in hand that have no vectors, whether they failed or not."""
        return np.setdiff1d(self.in_hand.contents, self.unit.contents[self._has])

    def fail(self, row: int, failure: Failure) -> None:
        """Take in that a content has failed."""
        self.failures.append(failure)
        self._has_failed[np.searchsorted(self.unit.contents, row)] = True

    def split(self, rest: WorkUnit) -> EncodedUnit:
        """Return what is done of the unit in hand; ``rest``, of the contents that are left, takes its place."""
        done = self.finish()
        self._begin(rest)
        return done

    def split_vectors(self, rest: WorkUnit) -> EncodedUnit:
        """Return what has its vectors of the unit in hand; ``rest``, the others and all failures, takes its place."""
        failures = self.failures
        done = replace(self.split(rest), failures=())
        self.failures = failures
        return done

    def finish(self) -> EncodedUnit:
        """Return what came of the unit in hand."""
        fresh = self._has & ~self._is_published
        self._is_published |= fresh
        vectors = self._vectors if fresh.all() else {name: vectors[fresh] for name, vectors in self._vectors.items()}
        rows = self.unit.contents[fresh]
        return EncodedUnit(self.in_hand, rows, vectors, tuple(self.failures), dict(self.decoders))

    def _begin(self, unit: WorkUnit) -> None:
        self.in_hand = unit
        self.failures = []
        self._since = None  # until its first vectors: the jobs of a group begin together


@dataclass(frozen=True)
class Batch:
    """Contents of one job that go through the encoder together.

    Attributes
    ----------
    job : Job
        Whose.
    rows : (m,) int64
        Rows of the sample table; none if only the end of the job is to be told, or that it is void.
    inputs : sequence
        What the encoder takes, one for each row.
    is_last : bool
        Whether the job is complete with it.
    """

    job: Job
    rows: NDArray[np.int64]
    inputs: Sequence[Any]
    is_last: bool
