"""One pass over the contents of one kind, for every encoder and view that is made of them, in lockstep.

Beside others that may be at work on the same: units are claimed, encoded and published one number after the other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeAlias

import numpy as np

from featcache.encoders.base import Vectors
from featcache.errors import FeatcacheError
from featcache.extraction.encoding.claiming import PlannedUnit, begin_units, claimed_units
from featcache.extraction.encoding.feeds import ClaimedUnits, Feed
from featcache.extraction.encoding.job import Batch, EncodedUnit
from featcache.extraction.encoding.loaded import LoadedEncoders
from featcache.extraction.encoding.publisher import Publisher
from featcache.extraction.encoding.side import Side
from featcache.extraction.encoding.tally import Tally
from featcache.extraction.results import Event, PassResult, Progress
from featcache.files.claims import Claims
from featcache.identity.terms import Content

__all__ = ["IsReady", "Pass"]

_POLL_SECONDS = 0.5
_PATIENCE_TIMEOUTS = 30
_IN_FLIGHT = 1

IsReady: TypeAlias = Callable[[], bool]
"""What a pass leaves behind when its turn is over: tells whether the next one is worth while, or would only wait."""


class Pass:
    """A pass; used once.

    Parameters
    ----------
    content : {"text", "image"}
        Of which kind.
    sides : sequence of Side
        What is made of the contents; the number of each is its place.
    feed : Feed
        Makes batches.
    encoders : LoadedEncoders
        Those that are in use.
    tally : Tally
        Counts failures.
    report, tell : callable
        Called from this thread with where the pass stands, and with what happened.
    """

    def __init__(
        self,
        content: Content,
        sides: Sequence[Side],
        *,
        feed: Feed,
        encoders: LoadedEncoders,
        tally: Tally,
        report: Callable[[Progress], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._content = content
        self._sides = sides
        self._feed = feed
        self._encoders = encoders
        self._tally = tally
        self._report = report
        self._tell = tell
        self._seconds = dict.fromkeys([*feed.busy, "load", "forward", "write"], 0.0)
        self._waited = 0.0
        self._divided = dict(feed.busy)
        self._since = time.perf_counter()
        self._n_rows = 0
        todo = [unit.contents for side in sides for unit in side.plan.units]
        self._n_rows_todo = sum(map(len, todo))
        self._n_contents_todo = len(np.unique(np.concatenate(todo))) if todo else 0
        self._n_waiting = 0
        self._published: deque[Event] = deque()

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time by step: each wait for input is divided as the work was that came of it."""
        return dict(self._seconds)

    def result(self) -> PassResult:
        """Say what was done."""
        feed = self._feed
        return PassResult(
            self._content,
            feed.n_contents,
            self._n_rows,
            self.seconds,
            dict(feed.busy),
            feed.workers,
            dict(feed.ways),
            tuple(self._tally.doubts),
            feed.hint,
        )

    def turns(self, *, claim_timeout: float) -> Iterator[IsReady]:
        """Do what is planned, a batch a turn; ends when all of it is published, by whomever.

        What happens between two turns is not counted as time of this pass: another pass may take its turns there. A
        turn that is taken although it is not ready waits.

        Parameters
        ----------
        claim_timeout : float
            Seconds after which a writer that gives no sign of life loses its claim.

        Raises
        ------
        FeatcacheError
            If more contents fail than the options allow; what was published stays.
        """
        units = [(side, unit) for side in self._sides for unit in side.plan.units]
        units.sort(key=lambda work: (work[1].number, work[0].number))
        self._since = time.perf_counter()
        with ExitStack() as stack:
            claims = [stack.enter_context(side.open_claims(timeout=claim_timeout)) for side in self._sides]
            stack.callback(self._record_failures)
            stack.push(partial(self._publish_begun, claims))
            publisher = stack.enter_context(Publisher())
            waiting = yield from self._work(units, claims, publisher)
            started = time.monotonic()
            while waiting:
                self._n_waiting = len(waiting)
                self._tell_progress()
                yield from self._wait(min(_POLL_SECONDS, claim_timeout / 8))
                left = yield from self._work(waiting, claims, publisher)
                if [unit.name for _, unit in left] != [unit.name for _, unit in waiting]:
                    started = time.monotonic()
                elif time.monotonic() - started > _PATIENCE_TIMEOUTS * claim_timeout:
                    # Alive, but publishes nothing: better done twice than never.
                    yield from self._encode(iter([begin_units([left.pop(0)])]), claims, publisher)
                waiting = left
            self._n_waiting = 0

    def _publish_begun(self, claims: Sequence[Claims], *error: object) -> None:
        """Lose nothing that was encoded because the work ends before its time."""
        if error[0] is None:
            return
        with suppress(OSError, FeatcacheError):  # what ended the work is to be told, and may have been this already
            for side in self._sides:
                for encoded in side.split_begun(claims[side.number]):
                    self._publish(side, encoded, claims[side.number])
            self._tell_published()

    def _record_failures(self) -> None:
        """Leave a trace of the failures because of which the work is given up."""
        for side in self._sides if self._tally.is_over else ():
            side.record_failures()

    def _work(
        self, units: Sequence[PlannedUnit], claims: Sequence[Claims], publisher: Publisher
    ) -> Generator[IsReady, None, list[PlannedUnit]]:
        """Encode those units that can be claimed; returns those that others have in hand."""
        left: list[PlannedUnit] = []
        yield from self._encode(claimed_units(units, claims, left), claims, publisher)
        return left

    def _encode(
        self, groups: Iterator[ClaimedUnits], claims: Sequence[Claims], publisher: Publisher
    ) -> Iterator[IsReady]:
        flying: deque[tuple[Batch, Callable[[], Vectors] | None]] = deque()
        self._tell_progress()
        try:
            for batch in self._feed.batches(groups):
                self._spend_waiting()
                if batch is not None:
                    flying.append((batch, self._start(batch)))
                while len(flying) > _IN_FLIGHT:
                    self._land(*flying.popleft(), claims, publisher)
                yield from self._rest(lambda: self._feed.is_ready)
            self._spend_waiting()
        finally:
            # Also when too many contents failed: what was encoded before is not lost.
            while flying:
                self._land(*flying.popleft(), claims, publisher)
        yield from self._rest(lambda: publisher.is_idle)
        publisher.flush()
        self._spend("write")
        self._tell_progress()

    def _rest(self, is_ready: IsReady) -> Iterator[IsReady]:
        """End a turn."""
        yield is_ready
        self._since = time.perf_counter()

    def _wait(self, seconds: float) -> Iterator[IsReady]:
        """End a turn, and let time pass before the next one."""
        due = time.monotonic() + seconds
        yield from self._rest(lambda: time.monotonic() >= due)
        time.sleep(max(0.0, due - time.monotonic()))

    def _start(self, batch: Batch) -> Callable[[], Vectors] | None:
        if not len(batch.rows):
            return None
        spec = self._sides[batch.job.side].plan.spec
        wait = self._encoders.of(spec, batch.inputs[0]).start(batch.inputs)
        self._spend("forward", batch.job.side)
        return wait

    def _land(
        self, batch: Batch, wait: Callable[[], Vectors] | None, claims: Sequence[Claims], publisher: Publisher
    ) -> None:
        job, side = batch.job, self._sides[batch.job.side]
        if wait is not None:
            for row, fault in job.add(batch.rows, wait()):
                self._tally.fail(job, row, fault)
            self._spend("forward", job.side)
            self._n_rows += len(batch.rows)
        if job.is_void and not len(batch.rows):
            self._n_rows -= job.n_void
            self._tally.forget(job)
        done: EncodedUnit | None = None
        if batch.is_last:
            self._n_rows += len(job.unit.contents) - job.n_tried
            done = side.finish(job)
        elif job.is_due:
            done = side.split(job, claims[side.number])
        if done is not None:
            publisher.submit(partial(self._publish, side, done, claims[side.number]))
            self._spend("write")
        self._tell_progress()
        self._tally.check()

    def _publish(self, side: Side, encoded: EncodedUnit, claims: Claims) -> None:
        n_stored = side.publish(encoded, claims)
        self._published.append(_unit_event(side, encoded, n_stored))

    def _spend(self, step: str, side: int | None = None) -> None:
        """Book the time since the last call."""
        now = time.perf_counter()
        self._seconds[step] += now - self._since
        if side is not None:
            self._sides[side].forward_seconds += now - self._since
        self._since = now

    def _spend_waiting(self) -> None:
        """Book the time since the last call: loading of encoders, and waiting for what was prepared meanwhile."""
        now, loaded = time.perf_counter(), self._encoders.load_seconds
        self._waited += max(0.0, now - self._since - (loaded - self._seconds["load"]))
        self._seconds["load"], self._since = loaded, now
        busy = dict(self._feed.busy)
        work = {step: seconds - self._divided[step] for step, seconds in busy.items()}
        if not any(work.values()):
            work = busy  # the wait was for nothing new, such as the end: it counts as all waits before it
        if total := sum(work.values()):
            for step, seconds in work.items():
                self._seconds[step] += self._waited * seconds / total
            self._waited, self._divided = 0.0, busy

    def _tell_published(self) -> None:
        while self._published:
            self._tell(self._published.popleft())

    def _tell_progress(self) -> None:
        self._tell_published()
        elsewhere = sum(side.n_elsewhere + side.n_failed_elsewhere for side in self._sides)
        total, n_failed = self._n_contents_todo, self._tally.n_failed
        done = (self._n_rows + elsewhere) * total // max(1, self._n_rows_todo)
        self._report(Progress(self._content, done, total, n_failed, self.seconds, self._n_waiting))


def _unit_event(side: Side, encoded: EncodedUnit, n_stored: int) -> Event:
    plan, unit = side.plan, encoded.unit
    names = {"modality": plan.spec.modality, "encoder": plan.spec.fingerprint.short, "view": plan.view}
    counts = {"n_rows": n_stored, "n_failed": len(encoded.failures)}
    return Event("unit", names | {"unit": unit.name, "run": unit.number} | counts)
