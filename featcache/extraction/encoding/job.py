"""Work units while they are encoded: rows arrive in batches, vectors are put in their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure
from featcache.cache.shard_writing import storable
from featcache.extraction.fault import Fault
from featcache.extraction.planning.plan import WorkUnit

__all__ = ["Batch", "EncodedUnit", "Job"]


@dataclass(frozen=True)
class EncodedUnit:
    """What came of a work unit.

    Attributes
    ----------
    rows : (m,) int64
        Rows of the sample table, ascending.
    vectors : mapping of output name to (m, d) float32
        Their vectors.
    failures : tuple of Failure
        Contents that have none.
    """

    rows: NDArray[np.int64]
    vectors: Mapping[str, NDArray[np.float32]]
    failures: tuple[Failure, ...]


class Job:
    """One work unit of one encoder and view, in work.

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
    failures : list of Failure
        Its contents that have no vectors.
    n_tried : int
        Rows that were encoded.
    decoders : dict of str to str
        Versions of those who decoded some of its pictures, beside Pillow.
    """

    def __init__(self, side: int, unit: WorkUnit, storage_dtype: str) -> None:
        self.side = side
        self.unit = unit
        self.failures: list[Failure] = []
        self.n_tried = 0
        self.decoders: dict[str, str] = {}
        self._storage_dtype = storage_dtype
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._has = np.zeros(len(unit.contents), bool)

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

    def finish(self) -> EncodedUnit:
        """Return what came of the unit; nothing can be added afterwards."""
        has = self._has
        if not has.any():
            return EncodedUnit(np.empty(0, np.int64), {}, tuple(self.failures))
        vectors = self._vectors if has.all() else {name: vectors[has] for name, vectors in self._vectors.items()}
        return EncodedUnit(self.unit.contents[has], vectors, tuple(self.failures))


@dataclass(frozen=True)
class Batch:
    """Contents of one job that go through the encoder together.

    Attributes
    ----------
    job : Job
        Whose.
    rows : (m,) int64
        Rows of the sample table; none if only the end of the job is to be told.
    inputs : sequence
        What the encoder takes, one for each row.
    is_last : bool
        Whether the job is complete with it.
    is_void : bool
        Whether what was encoded of the job up to now is not to be used: its unit is begun again, as another job.
    """

    job: Job
    rows: NDArray[np.int64]
    inputs: Sequence[Any]
    is_last: bool
    is_void: bool = False
