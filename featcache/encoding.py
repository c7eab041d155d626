"""Encoding one work unit: contents are read, checked against their keys and prepared ahead of the forward."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.encoders.base import Encoder, EncoderSpec
from featcache.errors import ImageError
from featcache.failures import Failure
from featcache.manifest import Manifest
from featcache.plan import WorkUnit
from featcache.scan import content_bytes
from featcache.shard import storable

__all__ = ["Contents", "EncodedUnit", "encode_unit"]

_BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Contents:
    """The contents of one side of a data set, ready to be prepared by any thread.

    Attributes
    ----------
    manifest : Manifest
        Where the contents are.
    keys : (n, 32) uint8
        What they were when they were hashed.
    spec : EncoderSpec
        Says how they are prepared.
    attempts : mapping of key to int
        How often a content (64 hex digits) failed before.
    """

    manifest: Manifest
    keys: NDArray[np.uint8]
    spec: EncoderSpec
    attempts: Mapping[str, int] = field(default_factory=dict)

    def prepare(self, row: int) -> Any:
        """Return one content as the encoder takes it.

        Raises
        ------
        ImageError
            If a picture cannot be decoded.
        OSError
            If it cannot be read, or is another than the one that was hashed.
        """
        content = content_bytes(self.manifest.samples[row], self.spec.modality)
        if hashlib.sha256(content).digest() != bytes(self.keys[row]):
            raise OSError("its bytes changed while the extraction ran: run it again")
        return self.spec.prepare(content)

    def failure(self, row: int, stage: str, error: Exception) -> Failure:
        """Record that a content could not be encoded."""
        key = bytes(self.keys[row]).hex()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        message = " ".join(str(error).split())[:300]
        attempt = self.attempts.get(key, 0) + 1
        return Failure(key, self.manifest.samples[row].sample_id, stage, type(error).__name__, message, attempt, now)


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


def encode_unit(
    unit: WorkUnit,
    contents: Contents,
    encoder: Encoder,
    *,
    pool: Executor,
    batch_size: int,
    report: Callable[[int, tuple[Failure, ...], Mapping[str, float]], None],
) -> EncodedUnit:
    """Encode a work unit.

    Parameters
    ----------
    unit : WorkUnit
        What to encode.
    contents : Contents
        Where it is.
    encoder : Encoder
        The loaded encoder.
    pool : Executor
        Threads that read, decode and resize.
    batch_size : int
        Contents a forward.
    report : callable
        Called after every batch with the contents of this unit tried so far, those that failed, and the seconds by
        part of this batch. What it raises ends the work.
    """
    rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    vectors: dict[str, list[NDArray[np.float32]]] = {name: [] for name in unit.outputs}
    failures: list[Failure] = []
    n_encoded = 0
    started = time.perf_counter()
    for batch, prepared in _batches(_in_order(unit, contents), contents, pool, batch_size, failures):
        ready = time.perf_counter()
        encoded = encoder.encode(prepared) if len(batch) else {}
        done = time.perf_counter()
        good = _check_storable(batch, encoded, contents, failures)
        rows.append(batch[good])
        n_encoded += int(good.sum())
        for name in unit.outputs if encoded else ():
            vectors[name].append(encoded[name][good])
        report(n_encoded + len(failures), tuple(failures), {"prepare": ready - started, "forward": done - ready})
        started = time.perf_counter()
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    joined = {name: np.concatenate(parts)[order] for name, parts in vectors.items() if parts}
    return EncodedUnit(row[order], joined, tuple(failures))


def _in_order(unit: WorkUnit, contents: Contents) -> NDArray[np.int64]:
    """Return a unit's rows in the order of the forwards: captions of similar length together, to pad little."""
    if contents.spec.modality != "text":
        return unit.contents
    lengths = [len(contents.manifest.samples[i].caption or "") for i in unit.contents]
    return unit.contents[np.argsort(lengths, kind="stable")]


def _batches(
    rows: NDArray[np.int64], contents: Contents, pool: Executor, size: int, failures: list[Failure]
) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
    """Yield (rows, prepared contents) of full batches, preparing ahead of the forward in bounded memory.

    The last batch may be smaller. An empty one tells of failures.
    """
    ahead: deque[tuple[int, Future[Any]]] = deque()
    queue = iter(rows.tolist())
    batch: list[int] = []
    prepared: list[Any] = []
    n_told = 0
    while True:
        while len(ahead) < _BATCHES_AHEAD * size and (row := next(queue, None)) is not None:
            ahead.append((row, pool.submit(contents.prepare, row)))
        if not ahead:
            break
        row, future = ahead.popleft()
        try:
            prepared.append(future.result())
            batch.append(row)
        except (ImageError, OSError) as error:
            failures.append(contents.failure(row, "decode" if isinstance(error, ImageError) else "read", error))
        if len(batch) == size:
            yield np.array(batch), prepared
            batch, prepared, n_told = [], [], len(failures)
        elif len(failures) - n_told >= size:
            # A systematic fault must not go unnoticed to the end of the unit.
            yield np.empty(0, np.int64), []
            n_told = len(failures)
    if batch or len(failures) > n_told:
        yield np.array(batch, np.int64), prepared


def _check_storable(
    batch: NDArray[np.int64],
    encoded: Mapping[str, NDArray[np.float32]],
    contents: Contents,
    failures: list[Failure],
) -> NDArray[np.bool_]:
    dtype = str(contents.spec.fingerprint.identity["storage_dtype"])
    good = np.ones(len(batch), bool)
    for name, vectors in encoded.items():
        fits = storable(vectors, dtype)
        for i in np.flatnonzero(good & ~fits):
            worst = float(np.abs(vectors[i]).max())
            error = ValueError(f"output {name!r} reaches {worst:.3g}, which {dtype} cannot hold")
            failures.append(contents.failure(int(batch[i]), "encode", error))
        good &= fits
    return good
