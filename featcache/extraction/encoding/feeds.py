"""From claimed work to batches: pictures are prepared once for all who want them, captions sorted by length."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.dataset.manifest import Manifest
from featcache.encoders.base import TokenEncoder
from featcache.extraction.encoding.batching import token_batches
from featcache.extraction.encoding.job import Batch, Job
from featcache.extraction.encoding.loaded import LoadedEncoder, LoadedEncoders
from featcache.extraction.encoding.side import Side
from featcache.extraction.fault import Fault
from featcache.extraction.preparing.reader import Reader
from featcache.extraction.preparing.recipe import STEPS, Reading

__all__ = ["ClaimedUnits", "Feed", "PictureFeed", "TextFeed"]

_OPEN_GROUPS = 2


@dataclass(frozen=True)
class ClaimedUnits:
    """Claimed units of one number, of whatever encoders and views."""

    number: int
    jobs: tuple[Job, ...]


class Failures(Protocol):
    """Who is told of contents that were tried, and of those that failed."""

    def try_row(self, row: int) -> None:
        """A content is being tried."""
        ...

    def fail(self, job: Job, row: int, fault: Fault) -> None:
        """A content has failed in one job."""
        ...

    def check(self) -> None:
        """All is told that is known to have failed; raises if it is too much."""
        ...


class Feed(Protocol):
    """Makes batches of groups; `busy` are the seconds of work by step that went into them, `workers` says whose."""

    busy: dict[str, float]
    n_contents: int
    workers: str

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch]:
        """Yield the batches of all jobs; the last of each says so."""
        ...


@dataclass
class _Pending:
    """A batch that is not full yet."""

    encoder: LoadedEncoder
    rows: list[int] = field(default_factory=list)
    inputs: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass
class _OpenUnits:
    jobs: dict[tuple[int, int], Job]
    n_left: int
    pending: dict[tuple[int, str], _Pending] = field(default_factory=dict)


class PictureFeed:
    """Each picture is read once for all jobs of its group that want it.

    Parameters
    ----------
    manifest : Manifest
        Where the pictures are.
    sides : sequence of Side
        Their numbers are those of the reader's products.
    reader : Reader
        Prepares them.
    encoders : LoadedEncoders
        Tell how large a batch is.
    failures : Failures
        Told of what cannot be prepared.
    """

    def __init__(
        self, manifest: Manifest, sides: Sequence[Side], *, reader: Reader, encoders: LoadedEncoders, failures: Failures
    ) -> None:
        self.busy = dict.fromkeys(STEPS, 0.0)
        self.n_contents = 0
        self.workers = str(reader)
        self._samples = manifest.samples
        self._sides = sides
        self._reader = reader
        self._encoders = encoders
        self._failures = failures
        self._open: dict[int, _OpenUnits] = {}

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch]:
        """Yield full batches in the order of the pictures, and at the end of a group the rest of each of its jobs."""
        for prepared in self._reader.prepare(self._readings(groups)):
            reading = prepared.reading
            group = self._open[reading.group]
            self.n_contents += 1
            for step, seconds in zip(STEPS, prepared.seconds, strict=True):
                self.busy[step] += seconds
            self._failures.try_row(reading.row)
            for side, fault in prepared.faults.items():
                self._failures.fail(group.jobs[side, reading.row], reading.row, fault)
            self._failures.check()
            for side, pixels in prepared.inputs.items():
                job = group.jobs[side, reading.row]
                pending = group.pending.get(job.key)
                if pending is None:
                    pending = _Pending(self._encoders.of(self._sides[side].plan.spec, pixels))
                    group.pending[job.key] = pending
                pending.rows.append(reading.row)
                pending.inputs.append(pixels)
                if len(pending.rows) >= pending.encoder.n_rows:
                    del group.pending[job.key]
                    yield Batch(job, np.array(pending.rows, np.int64), pending.inputs, is_last=False)
            group.n_left -= 1
            if not group.n_left:
                yield from self._rest(self._open.pop(reading.group))

    def _rest(self, group: _OpenUnits) -> Iterator[Batch]:
        for key, job in {job.key: job for job in group.jobs.values()}.items():
            pending = group.pending.get(key)
            rows, inputs = (pending.rows, pending.inputs) if pending else ([], [])
            yield Batch(job, np.array(rows, np.int64), inputs, is_last=True)

    def _readings(self, groups: Iterator[ClaimedUnits]) -> Iterator[Reading | None]:
        """Yield the readings of one group after the other; None while enough groups are in work."""
        while True:
            while len(self._open) >= _OPEN_GROUPS:
                yield None
            if (group := next(groups, None)) is None:
                return
            yield from self._open_group(group)

    def _open_group(self, group: ClaimedUnits) -> Iterator[Reading]:
        jobs = {(job.side, int(row)): job for job in group.jobs for row in job.unit.contents}
        wanted: dict[int, list[int]] = {}
        for side, row in jobs:
            wanted.setdefault(row, []).append(side)
        number = group.number
        self._open[number] = _OpenUnits(jobs, len(wanted))
        recipe, table = self._reader.recipe, self._sides[0].table
        for row in sorted(wanted):
            image = self._samples.image(row)
            assert image is not None
            yield recipe.reading(table, row, image, group=number, products=tuple(wanted[row]))


class TextFeed:
    """Captions of similar length go together, so that little is padded.

    Parameters
    ----------
    manifest : Manifest
        Where the captions are.
    sides : sequence of Side
        Their numbers are those of the jobs.
    encoders : LoadedEncoders
        Tell how large a batch is, and cut captions into tokens.
    failures : Failures
        Told of what is tried.
    """

    def __init__(
        self, manifest: Manifest, sides: Sequence[Side], *, encoders: LoadedEncoders, failures: Failures
    ) -> None:
        self.busy = {"tokenise": 0.0}
        self.n_contents = 0
        self.workers = "1 thread"
        self._samples = manifest.samples
        self._sides = sides
        self._encoders = encoders
        self._failures = failures

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch]:
        """Yield the batches of one job after the other."""
        for group in groups:
            self.n_contents += len({int(row) for job in group.jobs for row in job.unit.contents})
            for job in group.jobs:
                yield from self._batches_of(job)

    def _batches_of(self, job: Job) -> Iterator[Batch]:
        started = time.perf_counter()
        spec, contents = self._sides[job.side].plan.spec, job.unit.contents
        texts = [spec.prepare(self._samples.caption[row]) for row in contents]
        loaded = self._encoders.of(spec, texts[0])
        inputs: Sequence[object] = texts
        if isinstance(loaded.encoder, TokenEncoder):
            inputs = tokens = loaded.encoder.tokenise(texts)
            cuts = token_batches([len(t) for t in tokens], loaded.n_rows)
        else:
            order = np.argsort([len(text) for text in texts], kind="stable")
            cuts = [order[i : i + loaded.n_rows] for i in range(0, len(order), loaded.n_rows)]
        self.busy["tokenise"] += time.perf_counter() - started
        for number, cut in enumerate(cuts):
            for row in contents[cut]:
                self._failures.try_row(int(row))
            self._failures.check()
            yield Batch(job, contents[cut], [inputs[i] for i in cut], is_last=number == len(cuts) - 1)
