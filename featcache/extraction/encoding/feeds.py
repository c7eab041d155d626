"""From claimed work to batches: what a feed is, and that of captions, which are sorted by length."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.dataset.manifest import Manifest
from featcache.encoders.base import Encoder, EncoderSpec, TokenEncoder
from featcache.extraction.encoding.batching import token_batches
from featcache.extraction.encoding.job import Batch, Job
from featcache.extraction.encoding.loaded import LoadedEncoder, LoadedEncoders
from featcache.extraction.encoding.side import Side
from featcache.extraction.fault import Fault
from featcache.files.string_column import StringColumn

__all__ = ["ClaimedUnits", "Failures", "Feed", "TextFeed"]

_OPEN_UNITS = 2


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

    def doubt(self, message: str) -> None:
        """Something that made inputs is not trusted any more, and others do its work."""
        ...


class Feed(Protocol):
    """Makes batches of groups; `busy` are the seconds of work by step that went into them, `workers` says whose.

    `ways` counts pictures by who decoded them, and why, and `hint` says what could decode and does not: see
    `featcache.extraction.results.PassResult`.
    """

    busy: dict[str, float]
    n_contents: int
    ways: Counter[str]
    workers: str
    hint: str

    @property
    def is_ready(self) -> bool:
        """Whether the next turn is to be taken now; False: it would only wait, and others may go first."""
        ...

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch | None]:
        """Yield the batches of all jobs; the last of each says so. None: the next one may not be ready yet."""
        ...


@dataclass(frozen=True)
class _Inputs:
    """What an encoder takes of the captions of a unit, in their order; how long each is, and what making them took."""

    inputs: Sequence[object]
    lengths: Sequence[int]
    is_tokens: bool
    seconds: float


class TextFeed:
    """Captions of similar length go together, so that little is padded.

    A thread reads and tokenises those of the next unit while one is encoded.

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
        self.ways: Counter[str] = Counter()
        self.workers = "1 thread"
        self.hint = ""
        self._captions = manifest.samples.caption
        self._sides = sides
        self._encoders = encoders
        self._failures = failures
        self._awaited: Future[_Inputs] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the captions of the next batch are tokenised."""
        return self._awaited is None or self._awaited.done()

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch | None]:
        """Yield the batches of one job after the other."""
        jobs = self._jobs(groups)
        ahead: deque[tuple[Job, LoadedEncoder, Future[_Inputs]]] = deque()
        pool = ThreadPoolExecutor(1, thread_name_prefix="tokenise")
        try:
            while True:
                while len(ahead) < _OPEN_UNITS and (job := next(jobs, None)) is not None:
                    ahead.append(self._begin(job, pool))
                if not ahead:
                    return
                job, loaded, self._awaited = ahead.popleft()
                yield None
                found = self._awaited.result()
                self._awaited = None
                self.busy["tokenise"] += found.seconds
                yield from self._batches_of(job, loaded, found)
        finally:
            pool.shutdown(cancel_futures=True)

    def _jobs(self, groups: Iterator[ClaimedUnits]) -> Iterator[Job]:
        for group in groups:
            self.n_contents += len(np.unique(np.concatenate([job.unit.contents for job in group.jobs])))
            yield from group.jobs

    def _begin(self, job: Job, pool: ThreadPoolExecutor) -> tuple[Job, LoadedEncoder, Future[_Inputs]]:
        spec, contents = self._sides[job.side].plan.spec, job.unit.contents
        loaded = self._encoders.of(spec, spec.prepare(self._captions[contents[0]]))
        return job, loaded, pool.submit(_prepare, spec, loaded.encoder, self._captions, contents)

    def _batches_of(self, job: Job, loaded: LoadedEncoder, found: _Inputs) -> Iterator[Batch]:
        contents, n_rows = job.unit.contents, loaded.n_rows
        if found.is_tokens:
            cuts = token_batches(found.lengths, n_rows)
        else:
            order = np.argsort(found.lengths, kind="stable")
            cuts = [order[i : i + n_rows] for i in range(0, len(order), n_rows)]
        for number, cut in enumerate(cuts):
            for row in contents[cut]:
                self._failures.try_row(int(row))
            self._failures.check()
            yield Batch(job, contents[cut], [found.inputs[i] for i in cut], is_last=number == len(cuts) - 1)


def _prepare(spec: EncoderSpec, encoder: Encoder, captions: StringColumn, rows: NDArray[np.int64]) -> _Inputs:
    """Make of captions what an encoder takes."""
    started = time.perf_counter()
    texts = [spec.prepare(captions[row]) for row in rows]
    if isinstance(encoder, TokenEncoder):
        tokens = encoder.tokenise(texts)
        return _Inputs(tokens, [len(each) for each in tokens], True, time.perf_counter() - started)
    return _Inputs(texts, [len(each) for each in texts], False, time.perf_counter() - started)
