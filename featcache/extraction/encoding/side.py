"""One encoder under one view, and its plan: what it claims, publishes, and counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure, read_failure_file, write_failures
from featcache.cache.folder import Cache, unit_name
from featcache.cache.samples import SampleTable
from featcache.cache.shard import SUFFIX, ShardHeader, read_shard
from featcache.cache.shard_writing import write_shard
from featcache.errors import ShardError
from featcache.extraction.encoding.job import EncodedUnit, Job
from featcache.extraction.fault import Fault
from featcache.extraction.planning.plan import Plan, WorkUnit
from featcache.extraction.results import SideResult
from featcache.files.claims import SUFFIX as CLAIM_SUFFIX
from featcache.files.claims import Claims, forget_claim
from featcache.identity.key_index import KeyIndex
from featcache.identity.terms import CONTENT_OF
from featcache.store.shard_set import ShardSet

__all__ = ["Side"]

_TRIES = 3


class Side:
    """One encoder under one view; used once.

    Parameters
    ----------
    number : int
        Its place among the sides that are made of the same contents.
    plan : Plan
        What to do.
    table : SampleTable
        The contents.
    cache : Cache
        Where to publish.
    """

    def __init__(self, number: int, plan: Plan, table: SampleTable, cache: Cache) -> None:
        self.number = number
        self.plan = plan
        self.keys = table.keys(CONTENT_OF[plan.spec.modality])
        self.forward_seconds = 0.0
        self.n_elsewhere = 0
        self._failed_elsewhere: list[str] = []
        self.table = table
        self._cache = cache
        self._attempts = {failure.key: failure.attempt for failure in plan.earlier}
        self._failures: list[Failure] = []
        self._jobs: dict[str, Job] = {}
        self._n_encoded = 0
        self._write_seconds = 0.0

    @property
    def n_failed_elsewhere(self) -> int:
        """Contents on which another writer failed meanwhile."""
        return len(self._failed_elsewhere)

    @property
    def claim_folder(self) -> Path:
        """Where the claims of all writers on its units are."""
        return self._cache.path / "claims" / self.plan.spec.fingerprint.short / self.plan.view

    def open_claims(self, *, timeout: float) -> Claims:
        """Return this process's claims on its units, to be entered."""
        return Claims(self.claim_folder, root=self._cache.path, timeout=timeout)

    def job(self, unit: WorkUnit) -> Job:
        """Begin a unit."""
        job = self._jobs[unit.name] = Job(self.number, unit, self._storage_dtype)
        return job

    def failure(self, row: int, fault: Fault) -> Failure:
        """Return what is to be recorded of a content that could not be encoded."""
        key = bytes(self.keys[row])
        attempt = self._attempts.get(key.hex(), 0) + 1
        return fault.on_record(key, self.table.sample_id[row], attempt=attempt)

    def is_done_elsewhere(self, unit: WorkUnit) -> bool:
        """Look whether another writer finished a unit since it was planned; if so, count its contents."""
        stored, failed = self._done_since(unit)
        if not (stored | failed).all():
            return False
        self._count_elsewhere(unit, stored, failed)
        self._forget_claim(unit.name)
        return True

    def left_of(self, unit: WorkUnit) -> WorkUnit:
        """Return what is left of a claimed unit since it was planned, and count the rest; itself if that is all of it.

        Its last writer may have split something off, and not have come to the rest.
        """
        stored, failed = self._done_since(unit)
        if not (stored | failed).any():
            return unit
        self._count_elsewhere(unit, stored, failed)
        return self._rest(unit, unit.contents[~(stored | failed)])

    def _done_since(self, unit: WorkUnit) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which contents of a unit are stored under its name, and which others failed since it was planned."""
        keys, shard = self.keys[unit.contents], self._shard_path(unit.name)
        stored = KeyIndex.from_shards([_read_keys(shard)] if shard.exists() else []).contains(keys)
        record = self._cache.failure_folder(self.plan.spec.fingerprint, self.plan.view) / f"{unit.name}.json"
        failures = read_failure_file(record) if record.exists() else ()
        again = {failure.key for failure in failures if failure.attempt > self._attempts.get(failure.key, 0)}
        failed = np.array([bytes(key).hex() in again for key in keys], bool) if again else np.zeros(len(keys), bool)
        return stored, failed & ~stored

    def _count_elsewhere(self, unit: WorkUnit, stored: NDArray[np.bool_], failed: NDArray[np.bool_]) -> None:
        self._failed_elsewhere += [bytes(key).hex() for key in self.keys[unit.contents[failed]]]
        self.n_elsewhere += int(stored.sum())

    def _rest(self, unit: WorkUnit, contents: NDArray[np.int64]) -> WorkUnit:
        """Return the unit of some contents of another: the one that would be planned if the others were done."""
        name = unit_name(self.keys[contents], self.plan.view, unit.outputs)
        return replace(unit, name=name, contents=contents)

    def forget_finished_claims(self) -> None:
        """Remove claims on units whose shards are there: whoever left them, they are of no use any more."""
        folder = self.claim_folder
        for path in folder.glob(f"*{CLAIM_SUFFIX}") if folder.is_dir() else ():
            if self._shard_path(path.name.removesuffix(CLAIM_SUFFIX)).exists():
                self._forget_claim(path.name.removesuffix(CLAIM_SUFFIX))

    def split(self, job: Job, claims: Claims) -> EncodedUnit | None:
        """Return what is done of a unit in work, to be published; what is left is claimed, and becomes the unit.

        None if nothing is done, or left, or another writer has taken the unit over, or has what is left in hand.
        """
        rest = self._rest(job.in_hand, job.left)
        return job.split(rest) if len(rest.contents) and _may_split(job, rest, claims) else None

    def split_begun(self, claims: Claims) -> Iterator[EncodedUnit]:
        """Yield what has its vectors of each unit in work, to be published: they are not going to be completed.

        What failed stays with what is left, and is tried again with it: who interrupts may do so because of failures.
        """
        for job in tuple(self._jobs.values()):
            rest = self._rest(job.in_hand, job.lacking)
            if not job.is_void and _may_split(job, rest, claims):
                yield job.split_vectors(rest)

    def finish(self, job: Job) -> EncodedUnit:
        """End a unit; what came of it is to be published."""
        self._jobs.pop(job.unit.name, None)
        return job.finish()

    def again(self, job: Job) -> Job:
        """Begin again what is in hand of a unit whose job is void."""
        self._jobs.pop(job.unit.name, None)
        return self.job(job.in_hand)

    def publish(self, encoded: EncodedUnit, claims: Claims) -> int:
        """Write what came of a unit, or was split off of it, and give up its claim; returns how many rows are stored.

        If the claim was lost, only what is not stored is written, and some of it may find no place.
        """
        started = time.perf_counter()
        name = encoded.unit.name
        # Whoever was at work on the same unit may have published less of it under its name, or more under others.
        is_whole = claims.holds(name) and self._write(encoded)
        n_stored = len(encoded.rows) if is_whole else self._write_missing(encoded)
        # Behind the shard: whoever finds a failure on record finds the rest of its unit stored (see `build_plan`).
        self._record(name, encoded.failures, stored=encoded.rows)
        self._n_encoded += n_stored
        self._failures += encoded.failures
        claims.release(name)
        self._write_seconds += time.perf_counter() - started
        return n_stored

    def _write(self, encoded: EncodedUnit) -> bool:
        """Publish a shard, if there are rows; False if another has its name."""
        if not len(encoded.rows):
            return True
        header = ShardHeader(self.plan.spec.fingerprint.digest, self.plan.view, self._storage_dtype)
        keys, path = self.keys[encoded.rows], self._shard_path(encoded.unit.name)
        return write_shard(path, header, keys, encoded.vectors, root=self._cache.path, decoders=encoded.decoders)

    def _write_missing(self, encoded: EncodedUnit) -> int:
        """Publish what is stored nowhere of what came of a unit; returns how many of its rows are stored then."""
        left = encoded
        for _ in range(_TRIES):
            left = self._missing(left)
            if self._write(left):
                return len(encoded.rows)
            # Another has published under that name meanwhile, perhaps fewer rows.
        left = self._under_own_name(left)
        lost = 0 if self._write(left) else len(self._under_own_name(left).rows)
        return len(encoded.rows) - lost

    def _missing(self, encoded: EncodedUnit) -> EncodedUnit:
        """Return what is stored nowhere of what came of a unit, under the name that a plan made now would give it."""
        unit = encoded.unit
        keys = self.keys[unit.contents]
        try:
            shards = ShardSet.open(self._cache, self.plan.spec.fingerprint, self.plan.view)
            lacks = ~np.stack([shards.contains(output, keys) for output in unit.outputs]).all(axis=0)
        except ShardError:
            # Another writer's shard cannot be read: what is stored twice is sound, what is lost is not.
            return self._under_own_name(encoded)
        return self._only(encoded, unit.contents[lacks])

    def _under_own_name(self, encoded: EncodedUnit) -> EncodedUnit:
        """Return what came of a unit under the name of these rows alone, but for those that are stored under it."""
        unit = self._rest(encoded.unit, encoded.rows)
        stored, _ = self._done_since(unit)
        return self._only(encoded, encoded.rows[~stored])

    def _only(self, encoded: EncodedUnit, contents: NDArray[np.int64]) -> EncodedUnit:
        fresh = np.isin(encoded.rows, contents)
        vectors = {output: vectors[fresh] for output, vectors in encoded.vectors.items()}
        return replace(encoded, unit=self._rest(encoded.unit, contents), rows=encoded.rows[fresh], vectors=vectors)

    def record_failures(self) -> None:
        """Put on record what failed in units that are not going to be published: only the rest is planned again."""
        for job in self._jobs.values():
            self._record(job.in_hand.name, job.failures)

    def _record(self, name: str, failures: Sequence[Failure], stored: NDArray[np.int64] | tuple[()] = ()) -> None:
        """Add failures to those on record under a name, but for earlier ones of contents that are stored now.

        A unit of contents that all failed before has the name of that record, and may be published in parts.
        """
        if not failures:
            return
        folder = self._cache.failure_folder(self.plan.spec.fingerprint, self.plan.view)
        settled = {failure.key for failure in failures} | {bytes(self.keys[row]).hex() for row in stored}
        record = folder / f"{name}.json"
        earlier = read_failure_file(record) if record.exists() else ()
        kept = [failure for failure in earlier if failure.key not in settled]
        write_failures(folder, name, [*failures, *kept], root=self._cache.path)

    def result(self) -> SideResult:
        """Say what was done."""
        plan, fingerprint = self.plan, self.plan.spec.fingerprint
        return SideResult(
            modality=plan.spec.modality,
            view=plan.view,
            fingerprint=fingerprint.digest,
            model=fingerprint.model_name,
            n_contents=plan.n_contents,
            n_cached=plan.n_cached,
            n_encoded=self._n_encoded,
            n_elsewhere=self.n_elsewhere,
            failures=tuple(self._failures),
            n_failed_before=plan.n_failed + self.n_failed_elsewhere,
            n_new=plan.n_new,
            n_other_parts=plan.n_other_parts,
            seconds={"forward": self.forward_seconds, "write": self._write_seconds},
            misses=plan.misses,
            failed_before=(*plan.failed_before, *self._failed_elsewhere),
        )

    @property
    def _storage_dtype(self) -> str:
        return str(self.plan.spec.fingerprint.identity["storage_dtype"])

    def _forget_claim(self, name: str) -> None:
        forget_claim(self.claim_folder / f"{name}{CLAIM_SUFFIX}", root=self._cache.path)

    def _shard_path(self, name: str) -> Path:
        return self._cache.shard_folder(self.plan.spec.fingerprint, self.plan.view) / f"{name}{SUFFIX}"


def _may_split(job: Job, rest: WorkUnit, claims: Claims) -> bool:
    """Tell whether something is done of a unit in work, and whether it and what is left are this writer's."""
    name = job.in_hand.name
    is_some = len(rest.contents) < len(job.in_hand.contents)
    is_ours = is_some and (claims.holds(name) or claims.take(name))
    return is_ours and (not len(rest.contents) or claims.take(rest.name))


def _read_keys(path: Path) -> NDArray[np.uint8]:
    """Return the content keys of a shard: (n, 32)."""
    shard = read_shard(path)
    return np.asarray(shard.map(shard.key))
