"""One encoder under one view, and its plan: what it claims, publishes, and counts."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.failures import Failure, read_failure_file, write_failures
from featcache.cache.folder import Cache
from featcache.cache.samples import SampleTable
from featcache.cache.shard import SUFFIX, ShardHeader, read_shard
from featcache.cache.shard_writing import write_shard
from featcache.extraction.encoding.job import Job
from featcache.extraction.fault import Fault
from featcache.extraction.planning.plan import Plan, WorkUnit
from featcache.extraction.results import SideResult
from featcache.files.claims import SUFFIX as CLAIM_SUFFIX
from featcache.files.claims import Claims, forget_claim
from featcache.identity.key_index import KeyIndex
from featcache.identity.terms import CONTENT_OF

__all__ = ["Side"]


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
        keys, shard = self.keys[unit.contents], self._shard_path(unit.name)
        stored = KeyIndex.from_shards([_read_keys(shard)] if shard.exists() else []).contains(keys)
        if not stored.any() and self._n_failed_again(unit) < len(keys):
            return False
        # What of a unit is not in its shard has failed, whether or not that is on record yet.
        self._failed_elsewhere += [bytes(key).hex() for key in keys[~stored]]
        self.n_elsewhere += int(stored.sum())
        self._forget_claim(unit.name)
        return True

    def _n_failed_again(self, unit: WorkUnit) -> int:
        """Count the contents of a unit of which a later failure than the planned ones is on record."""
        record = self._cache.failure_folder(self.plan.spec.fingerprint, self.plan.view) / f"{unit.name}.json"
        failures = read_failure_file(record) if record.exists() else ()
        return sum(failure.attempt > self._attempts.get(failure.key, 0) for failure in failures)

    def forget_finished_claims(self) -> None:
        """Remove claims on units whose shards are there: whoever left them, they are of no use any more."""
        folder = self.claim_folder
        for path in folder.glob(f"*{CLAIM_SUFFIX}") if folder.is_dir() else ():
            if self._shard_path(path.name.removesuffix(CLAIM_SUFFIX)).exists():
                self._forget_claim(path.name.removesuffix(CLAIM_SUFFIX))

    def publish(self, job: Job, claims: Claims) -> None:
        """Write what came of a unit, and give up its claim."""
        started = time.perf_counter()
        fingerprint, view, name = self.plan.spec.fingerprint, self.plan.view, job.unit.name
        encoded = job.finish()
        if len(encoded.rows):
            header = ShardHeader(fingerprint.digest, view, self._storage_dtype)
            keys = self.keys[encoded.rows]
            path, root = self._shard_path(name), self._cache.path
            write_shard(path, header, keys, encoded.vectors, root=root, decoders=job.decoders)
        # Behind the shard: whoever finds a failure on record finds the rest of its unit stored (see `build_plan`).
        if encoded.failures:
            folder = self._cache.failure_folder(fingerprint, view)
            write_failures(folder, name, encoded.failures, root=self._cache.path)
        self._n_encoded += len(encoded.rows)
        self._failures += encoded.failures
        self._jobs.pop(name, None)
        claims.release(name)
        self._write_seconds += time.perf_counter() - started

    def record_failures(self) -> None:
        """Put on record what failed in units that are not going to be published: only the rest is planned again."""
        folder = self._cache.failure_folder(self.plan.spec.fingerprint, self.plan.view)
        for name, job in self._jobs.items():
            if job.failures:
                record, new = folder / f"{name}.json", {failure.key for failure in job.failures}
                earlier = read_failure_file(record) if record.exists() else ()
                write_failures(
                    folder, name, [*job.failures, *(f for f in earlier if f.key not in new)], root=self._cache.path
                )

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


def _read_keys(path: Path) -> NDArray[np.uint8]:
    """Return the content keys of a shard: (n, 32)."""
    shard = read_shard(path)
    return np.asarray(shard.map(shard.key))
