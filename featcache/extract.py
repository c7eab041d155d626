"""Running encoders over what a cache lacks: plan, encode work unit by work unit, publish. The only writer."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import CLEAN, Cache
from featcache.encoders.base import Device, Encoder, EncoderSpec
from featcache.errors import FeatcacheError, ImageError
from featcache.failures import Failure, write_failures
from featcache.index import update_index
from featcache.manifest import Manifest
from featcache.plan import Plan, WorkUnit, build_plan
from featcache.samples import SampleTable, write_samples
from featcache.scan import content_bytes, scan
from featcache.shard import SUFFIX, ShardHeader, storable, write_shard

__all__ = ["ExtractOptions", "ExtractResult", "Progress", "SideResult", "extract"]


@dataclass(frozen=True)
class ExtractOptions:
    """How to run; nothing here changes a vector beyond its last bits.

    Attributes
    ----------
    device : {"auto", "cuda", "cpu"}
        Where the encoders run.
    batch_size : int
        Contents a forward.
    workers : int
        Threads that read, hash, decode and resize.
    unit_rows : int
        Contents a work unit, that is rows a shard: what an interruption can lose.
    retry_failed : bool
        Try contents again that failed before.
    seed : int
        Of the split, where the manifest has none.
    """

    device: Device = "auto"
    batch_size: int = 64
    workers: int = field(default_factory=lambda: max(2, min(16, os.cpu_count() or 2)))
    unit_rows: int = 4096
    retry_failed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "unit_rows"):
            if getattr(self, name) < 1:
                raise FeatcacheError(f"{name} is {getattr(self, name)}, expected at least 1")


@dataclass(frozen=True)
class Progress:
    """Where an extraction stands.

    Attributes
    ----------
    stage : {"scan", "text", "image"}
        Reading and hashing contents, or encoding one side.
    done, total, failed : int
        Contents of this stage.
    seconds : mapping
        Time of this stage by part: ``prepare`` (waiting for decoded input), ``forward``, ``write``.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SideResult:
    """What one encoder did.

    Attributes
    ----------
    modality, fingerprint, model : str
        The producer.
    n_contents, n_cached, n_encoded : int
        Unique contents; those that were there already; those encoded now.
    failures : tuple of Failure
        Contents that could not be encoded now.
    n_failed_before : int
        Contents that failed earlier and were not tried again.
    seconds : mapping
        Time by part.
    """

    modality: str
    fingerprint: str
    model: str
    n_contents: int
    n_cached: int
    n_encoded: int
    failures: tuple[Failure, ...]
    n_failed_before: int
    seconds: Mapping[str, float]

    @property
    def n_failed(self) -> int:
        """Contents of this side that have no vectors."""
        return len(self.failures) + self.n_failed_before


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes
    ----------
    dataset : str
        Name of the data set in the cache.
    n_samples, n_orphans : int
        Samples, and manifest entries skipped because a file was not there.
    n_missing : mapping of modality to int
        Samples that have no content on that side.
    unreadable : tuple of Failure
        Pictures that exist but could not be read.
    sides : tuple of SideResult
        One per encoder.
    """

    dataset: str
    n_samples: int
    n_orphans: int
    n_missing: Mapping[str, int]
    unreadable: tuple[Failure, ...]
    sides: tuple[SideResult, ...]

    @property
    def n_failed(self) -> int:
        """Contents without vectors, whatever the reason."""
        return len(self.unreadable) + sum(side.n_failed for side in self.sides)

    @property
    def n_encoded(self) -> int:
        """Contents encoded now."""
        return sum(side.n_encoded for side in self.sides)


def extract(
    manifest: Manifest,
    cache: Cache,
    specs: Sequence[EncoderSpec],
    *,
    options: ExtractOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ExtractResult:
    """Run encoders over what a cache lacks of a data set.

    Safe to interrupt anywhere and to start again: what is published stays, the rest is planned anew.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    cache : Cache
        Where to store.
    specs : sequence of EncoderSpec
        The encoders, at most one a modality.
    options : ExtractOptions
        How to run.
    progress : callable
        Called after every batch, from the calling thread.
    """
    options = options or ExtractOptions()
    report = progress or (lambda _: None)
    for spec in specs:
        cache.add_producer(spec.fingerprint)
    scanned = scan(
        manifest,
        workers=options.workers,
        seed=options.seed,
        progress=lambda done, total: report(Progress("scan", done, total)),
    )
    table = scanned.table
    write_samples(cache.sample_path(manifest.name), table)
    write_failures(cache.path / "failures" / "samples" / manifest.name, "read", scanned.unreadable)
    sides = []
    for spec in specs:
        plan = build_plan(
            cache, spec, table, view=CLEAN, unit_rows=options.unit_rows, retry_failed=options.retry_failed
        )
        sides.append(_Run(manifest, cache, table, plan, options, report).run())
    update_index(cache)
    missing: dict[str, int] = {spec.modality: int((~table.has(spec.modality)).sum()) for spec in specs}
    return ExtractResult(manifest.name, len(table), len(manifest.orphans), missing, scanned.unreadable, tuple(sides))


class _Run:
    """One encoder at work on its plan."""

    def __init__(
        self,
        manifest: Manifest,
        cache: Cache,
        table: SampleTable,
        plan: Plan,
        options: ExtractOptions,
        report: Callable[[Progress], None],
    ) -> None:
        self.manifest = manifest
        self.cache = cache
        self.plan = plan
        self.options = options
        self.report = report
        self.spec = plan.spec
        self.keys = table.keys(plan.spec.modality)
        self.attempts = {failure.key: failure.attempt for failure in plan.earlier}
        self.seconds = {"prepare": 0.0, "forward": 0.0, "write": 0.0}
        self.n_done = 0
        self.failures: list[Failure] = []

    def run(self) -> SideResult:
        plan, fingerprint = self.plan, self.spec.fingerprint
        if plan.units:
            self._tell()
            encoder = self.spec.load(self.options.device)
            with ThreadPoolExecutor(self.options.workers, thread_name_prefix="prepare") as pool:
                try:
                    for unit in plan.units:
                        self._encode_unit(unit, encoder, pool)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return SideResult(
            self.spec.modality,
            fingerprint.digest,
            fingerprint.model_name,
            plan.n_contents,
            plan.n_cached,
            self.n_done - len(self.failures),
            tuple(self.failures),
            plan.n_failed,
            dict(self.seconds),
        )

    def _tell(self) -> None:
        self.report(Progress(self.spec.modality, self.n_done, self.plan.n_todo, len(self.failures), dict(self.seconds)))

    def _encode_unit(self, unit: WorkUnit, encoder: Encoder, pool: ThreadPoolExecutor) -> None:
        contents = unit.contents
        if self.spec.modality == "text":
            lengths = [len(self.manifest.samples[i].caption or "") for i in contents]
            contents = contents[np.argsort(lengths, kind="stable")]
        rows: list[NDArray[np.int64]] = []
        vectors: dict[str, list[NDArray[np.float32]]] = {name: [] for name in unit.outputs}
        failures: list[Failure] = []
        for batch, prepared in self._batches(contents, pool, failures):
            started = time.perf_counter()
            encoded = encoder.encode(prepared)
            self.seconds["forward"] += time.perf_counter() - started
            good = self._check_storable(batch, encoded, failures)
            rows.append(batch[good])
            for name in unit.outputs:
                vectors[name].append(encoded[name][good])
            self.n_done += len(batch)
            self._tell()
        self.n_done += len(unit.contents) - sum(map(len, rows)) - sum(f.stage == "encode" for f in failures)
        self.failures += failures
        started = time.perf_counter()
        self._publish(unit, rows, vectors, failures)
        self.seconds["write"] += time.perf_counter() - started
        self._tell()

    def _publish(
        self,
        unit: WorkUnit,
        rows: list[NDArray[np.int64]],
        vectors: dict[str, list[NDArray[np.float32]]],
        failures: list[Failure],
    ) -> None:
        fingerprint, view = self.spec.fingerprint, self.plan.view
        if failures:
            write_failures(self.cache.failure_folder(fingerprint, view), unit.name, failures)
        if not sum(map(len, rows)):
            return
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        features = {name: np.concatenate(parts)[order] for name, parts in vectors.items()}
        header = ShardHeader(fingerprint.digest, view, str(fingerprint.identity["storage_dtype"]))
        path = self.cache.shard_folder(fingerprint, view) / f"{unit.name}{SUFFIX}"
        write_shard(path, header, self.keys[row[order]], features)

    def _batches(
        self, contents: NDArray[np.int64], pool: ThreadPoolExecutor, failures: list[Failure]
    ) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
        """Yield (rows, prepared contents) of full batches, preparing ahead of the forward in bounded memory."""
        size = self.options.batch_size
        ahead: deque[tuple[int, Future[Any]]] = deque()
        queue = iter(contents.tolist())
        rows: list[int] = []
        prepared: list[Any] = []
        started = time.perf_counter()
        while True:
            while len(ahead) < 3 * size and (row := next(queue, None)) is not None:
                ahead.append((row, pool.submit(self._prepare, row)))
            if not ahead:
                break
            row, future = ahead.popleft()
            try:
                prepared.append(future.result())
                rows.append(row)
            except (ImageError, OSError) as error:
                failures.append(self._failure(row, "decode" if isinstance(error, ImageError) else "read", error))
            if len(rows) == size:
                self.seconds["prepare"] += time.perf_counter() - started
                yield np.array(rows), prepared
                rows, prepared = [], []
                started = time.perf_counter()
        self.seconds["prepare"] += time.perf_counter() - started
        if rows:
            yield np.array(rows), prepared

    def _prepare(self, row: int) -> Any:
        content = content_bytes(self.manifest.samples[row], self.spec.modality)
        if hashlib.sha256(content).digest() != bytes(self.keys[row]):
            raise OSError("its bytes changed while the extraction ran: run it again")
        return self.spec.prepare(content)

    def _check_storable(
        self, batch: NDArray[np.int64], encoded: Mapping[str, NDArray[np.float32]], failures: list[Failure]
    ) -> NDArray[np.bool_]:
        dtype = str(self.spec.fingerprint.identity["storage_dtype"])
        good = np.ones(len(batch), bool)
        for name, vectors in encoded.items():
            fits = storable(vectors, dtype)
            for i in np.flatnonzero(good & ~fits):
                worst = float(np.abs(vectors[i]).max())
                error = ValueError(f"output {name!r} reaches {worst:.3g}, which {dtype} cannot hold")
                failures.append(self._failure(int(batch[i]), "encode", error))
            good &= fits
        return good

    def _failure(self, row: int, stage: str, error: Exception) -> Failure:
        key = bytes(self.keys[row]).hex()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        sample_id = self.manifest.samples[row].sample_id
        message = " ".join(str(error).split())[:300]
        return Failure(key, sample_id, stage, type(error).__name__, message, self.attempts.get(key, 0) + 1, now)
