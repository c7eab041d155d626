"""One encoder at work on its plan, beside others that may be at work on the same: claim, encode, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from featcache.cache import Cache
from featcache.claims import Claims
from featcache.encoders.base import Encoder
from featcache.encoding import Contents, EncodedUnit, encode_unit
from featcache.errors import FeatcacheError
from featcache.failures import Failure, read_failures, write_failures
from featcache.manifest import Manifest
from featcache.options import ExtractOptions
from featcache.plan import Plan, WorkUnit
from featcache.results import Progress, SideResult
from featcache.samples import SampleTable
from featcache.shard import SUFFIX, ShardHeader, write_shard

__all__ = ["Side"]

_POLL_SECONDS = 0.5
_PATIENCE_TIMEOUTS = 30


class Side:
    """One encoder and its plan; used once.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    table : SampleTable
        Their content keys.
    plan : Plan
        What to do.
    cache : Cache
        Where to publish.
    options : ExtractOptions
        How to run.
    report : callable
        Called with where this side stands.
    """

    def __init__(
        self,
        manifest: Manifest,
        table: SampleTable,
        plan: Plan,
        *,
        cache: Cache,
        options: ExtractOptions,
        report: Callable[[Progress], None],
    ) -> None:
        self._plan = plan
        self._cache = cache
        self._options = options
        self._report = report
        attempts = {failure.key: failure.attempt for failure in plan.earlier}
        self._contents = Contents(manifest, table.keys(plan.spec.modality), plan.spec, attempts)
        self._seconds = {"prepare": 0.0, "forward": 0.0, "write": 0.0}
        self._failures: list[Failure] = []
        self._n_encoded = 0
        self._n_elsewhere = 0
        self._n_failed_elsewhere = 0

    def run(self, *, n_failed_before: int = 0) -> SideResult:
        """Do what is planned.

        Parameters
        ----------
        n_failed_before : int
            Failures of this run on other sides: they count towards the limit.

        Raises
        ------
        FeatcacheError
            If more contents fail than the options allow; what was published stays.
        """
        plan, fingerprint = self._plan, self._plan.spec.fingerprint
        if plan.units:
            self._tell()
            self._work(n_failed_before)
        return SideResult(
            modality=plan.spec.modality,
            fingerprint=fingerprint.digest,
            model=fingerprint.model_name,
            n_contents=plan.n_contents,
            n_cached=plan.n_cached,
            n_encoded=self._n_encoded,
            n_elsewhere=self._n_elsewhere,
            failures=tuple(self._failures),
            n_failed_before=plan.n_failed + self._n_failed_elsewhere,
            n_new=plan.n_new,
            seconds=dict(self._seconds),
            misses=plan.misses,
        )

    @property
    def _n_done(self) -> int:
        return self._n_encoded + len(self._failures) + self._n_elsewhere + self._n_failed_elsewhere

    def _tell(self, *, n_tried: int = 0, n_failed: int = 0, n_waiting: int = 0) -> None:
        done, failed = self._n_done + n_tried, len(self._failures) + n_failed
        seconds = dict(self._seconds)
        self._report(Progress(self._plan.spec.modality, done, self._plan.n_todo, failed, seconds, n_waiting))

    def _work(self, n_failed_before: int) -> None:
        folder = self._cache.path / "claims" / self._plan.spec.fingerprint.short / self._plan.view
        pool = ThreadPoolExecutor(self._options.workers, thread_name_prefix="prepare")
        try:
            with Claims(folder, timeout=self._options.claim_timeout) as claims:
                waiting = [unit for unit in self._plan.units if not self._try(unit, claims, pool, n_failed_before)]
                started = time.monotonic()
                while waiting:
                    self._tell(n_waiting=len(waiting))
                    time.sleep(min(_POLL_SECONDS, self._options.claim_timeout / 8))
                    left = [unit for unit in waiting if not self._try(unit, claims, pool, n_failed_before)]
                    if len(left) < len(waiting):
                        started = time.monotonic()
                    elif time.monotonic() - started > _PATIENCE_TIMEOUTS * self._options.claim_timeout:
                        # Alive, but publishes nothing: better done twice than never.
                        self._encode(left.pop(0), pool, n_failed_before)
                    waiting = left
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()

    def _try(self, unit: WorkUnit, claims: Claims, pool: Executor, n_failed_before: int) -> bool:
        """Encode a unit, unless it is done or in the hands of another writer; returns whether it is done now."""
        if self._is_done_elsewhere(unit):
            return True
        if not claims.take(unit.name):
            return False
        try:
            if not self._is_done_elsewhere(unit):
                self._encode(unit, pool, n_failed_before)
        finally:
            claims.release(unit.name)
        return True

    def _is_done_elsewhere(self, unit: WorkUnit) -> bool:
        """Look whether another writer finished a unit since it was planned; if so, count its contents."""
        fingerprint, view = self._plan.spec.fingerprint, self._plan.view
        has_shard = self._shard_path(unit).exists()
        if not has_shard and not (self._cache.failure_folder(fingerprint, view) / f"{unit.name}.json").exists():
            return False
        keys = {bytes(key).hex() for key in self._contents.keys[unit.contents]}
        recorded = (f for f in read_failures(self._cache, fingerprint, view) if f.key in keys)
        failed = {f.key for f in recorded if f.attempt > self._contents.attempts.get(f.key, 0)}
        if not has_shard and failed != keys:
            return False
        self._n_failed_elsewhere += len(failed)
        self._n_elsewhere += len(keys) - len(failed)
        self._tell()
        return True

    def _encode(self, unit: WorkUnit, pool: Executor, n_failed_before: int) -> None:
        def report(n_tried: int, failures: tuple[Failure, ...], seconds: Mapping[str, float]) -> None:
            for part, spent in seconds.items():
                self._seconds[part] += spent
            self._check_limit(n_tried, failures, n_failed_before)
            self._tell(n_tried=n_tried, n_failed=len(failures))

        batch_size = self._options.batch_size
        encoded = encode_unit(unit, self._contents, self._encoder, pool=pool, batch_size=batch_size, report=report)
        started = time.perf_counter()
        self._publish(unit, encoded)
        self._seconds["write"] += time.perf_counter() - started
        self._n_encoded += len(encoded.rows)
        self._failures += encoded.failures
        self._tell()

    @cached_property
    def _encoder(self) -> Encoder:
        return self._plan.spec.load(self._options.device)

    def _check_limit(self, n_tried: int, failures: tuple[Failure, ...], n_failed_before: int) -> None:
        limit = self._options.max_failures
        n_failed = len(self._failures) + len(failures)
        n_tried += self._n_encoded + len(self._failures)
        if limit is not None and limit.is_exceeded(n_failed, n_tried, n_failed_before=n_failed_before):
            first = [*self._failures, *failures][0]
            raise FeatcacheError(
                f"stopped: {n_failed + n_failed_before} contents failed, more than the limit of {limit} "
                f"({n_failed} of {n_tried} {self._plan.spec.modality} contents tried), the first of sample "
                f"{first.sample_id!r}: {first.message}; what was published stays"
            )

    def _publish(self, unit: WorkUnit, encoded: EncodedUnit) -> None:
        fingerprint, view = self._plan.spec.fingerprint, self._plan.view
        if encoded.failures:
            write_failures(self._cache.failure_folder(fingerprint, view), unit.name, encoded.failures)
        if len(encoded.rows):
            header = ShardHeader(fingerprint.digest, view, str(fingerprint.identity["storage_dtype"]))
            write_shard(self._shard_path(unit), header, self._contents.keys[encoded.rows], encoded.vectors)

    def _shard_path(self, unit: WorkUnit) -> Path:
        return self._cache.shard_folder(self._plan.spec.fingerprint, self._plan.view) / f"{unit.name}{SUFFIX}"
