"""From claimed work to batches: what a feed is, and that of captions, which are sorted by length."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from featcache.dataset.manifest import Manifest
from featcache.encoders.base import TokenEncoder
from featcache.extraction.encoding.batching import token_batches
from featcache.extraction.encoding.job import Batch, Job
from featcache.extraction.encoding.loaded import LoadedEncoders
from featcache.extraction.encoding.side import Side
from featcache.extraction.fault import Fault

__all__ = ["ClaimedUnits", "Failures", "Feed", "TextFeed"]


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

    def batches(self, groups: Iterator[ClaimedUnits]) -> Iterator[Batch]:
        """Yield the batches of all jobs; the last of each says so."""
        ...


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
        self.ways: Counter[str] = Counter()
        self.workers = "1 thread"
        self.hint = ""
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
