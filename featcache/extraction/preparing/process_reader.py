"""Processes that prepare pictures: pixels come back through shared memory, everything else through a pipe each.

The shared memory has no name and goes with the last of them, whatever ended it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from featcache.dataset.readers.tar_samples import TarImage
from featcache.dataset.sample import ImageFile
from featcache.extraction.fault import Fault
from featcache.extraction.preparing import picture_worker
from featcache.extraction.preparing.crew import Crew, Worker, WorkerDeath
from featcache.extraction.preparing.picture_worker import Answer, Greeting, Order, Task
from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe
from featcache.extraction.preparing.room import Budget
from featcache.extraction.preparing.slots import SlotLayout, Slots, shared_file
from featcache.pictures.checked_decoder import Doubt
from featcache.pictures.jpeg_kind import JpegKind

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ProcessReader"]

_RING_BYTES = 256 << 20
_MOST_A_TASK = 8
_TASKS_AHEAD = 4
_DOING = "prepared pictures"


class ProcessReader:
    """Processes that prepare pictures, and the memory that they share with this one; a context.

    Parameters
    ----------
    recipe : Recipe
        What can be made of a picture. Its encoders travel to the workers: they must be importable there.
    n_processes : int
        How many at most.
    n_ahead : int
        Pictures that may be in work or wait for their use, as far as 256 MB hold them.
    memory : int
        Bytes that pictures may take while they are prepared.
    n_first : int, optional
        How many to begin with: another is started when there is work, and all have enough. Default: all.
    """

    def __init__(
        self, recipe: Recipe, *, n_processes: int, n_ahead: int, memory: int, n_first: int | None = None
    ) -> None:
        layout = SlotLayout.of(recipe.shapes())
        n_slots = max(2 * n_processes, min(n_ahead, _RING_BYTES // layout.n_bytes))
        self.recipe = recipe
        self.decoders = recipe.decoders
        self.hint = ""
        self._budget = Budget(memory, n_processes)
        self._free = deque(range(n_slots))
        self._a_task = max(1, min(_MOST_A_TASK, n_slots // (_TASKS_AHEAD * n_processes)))
        self._fetcher = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._fetched: deque[tuple[Reading, Future[tuple[bytes | Fault, float]] | None]] = deque()
        self._fetch_seconds: dict[int, float] = {}
        self._waiting: deque[Order] = deque()
        self._order: deque[Order] = deque()
        self._done: dict[int, Answer] = {}
        self._distrusted: frozenset[JpegKind] = frozenset()
        self._by_pillow: set[Worker] = set()
        self._doubts: deque[Doubt] = deque()
        self._file = shared_file(n_slots * layout.n_bytes)
        self._slots = Slots(self._file, layout, n_slots)
        self._greeting = Greeting(recipe, self._budget, layout, n_slots)
        self._crew = Crew(
            n_first or n_processes, picture_worker.__name__, descriptors=(self._file,), greeting=self._greeting
        )

    def __str__(self) -> str:
        n = self._budget.n_workers
        return f"{n} process{'es' if n > 1 else ''}"

    def __enter__(self) -> Self:
        self._crew.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.__exit__(kind, error, trace)
        self._fetcher.shutdown(wait=error is None, cancel_futures=True)
        os.close(self._file)

    def divide(self, products: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
        """Return all products as one part: they come of one decoding."""
        return (products,)

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order.

        Raises
        ------
        FeatcacheError
            If a worker ends, or fails for another reason than the picture.
        """
        while True:
            self.begin(readings)
            if not self._order and not self._fetched:
                return
            while self._order and self._order[0].slot not in self._done:
                self._done |= {answer.slot: answer for answer in self._receive()}
                self.begin(readings)
            if self._order:
                yield self._take(self._order.popleft())

    def begin(self, readings: Iterator[Reading | None]) -> None:
        """Give work to workers that have little, as long as there are readings, slots and memory.

        It waits for none of them: `prepare`, which has the same readings, yields what comes of these.
        """
        while any(self._give(worker, readings) for worker in self._idle()):
            pass

    def _idle(self) -> Iterator[Worker]:
        """Yield workers that have little, who has least first; after the first only while some order waits for one."""
        idle = sorted((w for w in self._crew.workers if w.is_free), key=lambda worker: worker.n_tasks)
        for worker in idle:
            yield worker
            if not self._waiting:
                return
        is_short = not idle and self._fetched and self._free and not self._waiting
        if is_short and len(self._crew.workers) < self._budget.n_workers:
            yield self._crew.add()

    def _give(self, worker: Worker, readings: Iterator[Reading | None]) -> bool:
        """Send a task to a worker; what there is no memory for, if this worker does it, waits."""
        task: list[Order] = []
        left, self._waiting = self._waiting, deque()
        # Where every worker could have one that waits, memory is what lacks, and not work.
        while len(task) < self._a_task and (left or len(self._waiting) < self._budget.n_workers):
            found = left.popleft() if left else self._draw(readings)
            if found is None:
                break
            (task if self._has_room(found, worker, task) else self._waiting).append(found)
        self._waiting.extend(left)
        if task:
            worker.orders.extend(task)
            orders = tuple(each.portable() for each in task)
            try:
                worker.send(Task(orders, self._distrusted, bool(self._by_pillow)), _DOING)
            except WorkerDeath as death:
                self._replace(worker, death)
        return bool(task)

    def _has_room(self, order: Order, worker: Worker, task: Sequence[Order]) -> bool:
        """Tell whether a worker may do an order after all that it has, one by one, beside what the others have."""
        if not order.counted or order.counted <= _most((*worker.orders, *task)):
            return True
        others = sum(_most(other.orders) for other in self._crew.workers if other is not worker)
        return self._budget.allows(order.counted, others)

    def _draw(self, readings: Iterator[Reading | None]) -> Order | None:
        """Make the next order; None: there is none, no slot, or nothing but its bytes to wait for."""
        if not self._free:
            return None
        self._fetch(readings)
        if not self._fetched:
            return None
        reading, future = self._fetched[0]
        if future is not None and not future.done() and self._order:
            return None
        self._fetched.popleft()
        slot, data = self._free.popleft(), None
        if future is not None:
            data, self._fetch_seconds[slot] = future.result()
        new = Order(slot, reading, self._budget.count(reading.n_bytes), data)
        self._order.append(new)
        return new

    def _fetch(self, readings: Iterator[Reading | None]) -> None:
        """Draw readings; pictures that only this process can read are read by a thread, in their order."""
        while len(self._fetched) < min(len(self._free), 2 * _MOST_A_TASK) and (reading := next(readings, None)):
            is_theirs = isinstance(reading.image, ImageFile | TarImage)
            self._fetched.append((reading, None if is_theirs else self._fetcher.submit(_read, reading)))

    def _receive(self) -> list[Answer]:
        """Wait for answers."""
        answers: list[Answer] = []
        for worker in self._crew.ready():
            try:
                found: list[Answer] = worker.receive(_DOING)
            except WorkerDeath as death:
                self._replace(worker, death)
                continue
            for answer in found:
                worker.orders.popleft()
                if answer.way and answer.way.doubt and isinstance(answer.way.doubt.kind, JpegKind):
                    self._distrusted |= {answer.way.doubt.kind}
            answers += found
        return answers

    def _replace(self, worker: Worker, death: WorkerDeath) -> None:
        """Go on without the decoder that may have ended a worker; raises where there was none, or it cannot have."""
        recipe = self.recipe
        if recipe.decoder is None or worker in self._by_pillow or not death.is_crash:
            raise death
        if not self._by_pillow:
            self._doubts.append(Doubt(recipe.decoder.name, f"was at work when {death.summary}", None))
        self._waiting.extendleft(reversed(worker.orders))
        by_pillow = replace(self._greeting, recipe=replace(recipe, decoder=None))
        self._by_pillow.add(self._crew.replace(worker, by_pillow))

    def _take(self, order: Order) -> Prepared:
        answer = self._done.pop(order.slot)
        inputs = {p: self._slots[order.slot, p].copy() for p in answer.products}
        self._free.append(order.slot)
        read, *others = answer.seconds
        seconds = (read + self._fetch_seconds.pop(order.slot, 0.0), *others)
        way = answer.way
        if way and not way.doubt and self._doubts:
            way = replace(way, doubt=self._doubts.popleft())
        return Prepared(order.reading, inputs, answer.faults, seconds, way)


def _most(orders: Iterable[Order]) -> int:
    return max((order.counted for order in orders), default=0)


def _read(reading: Reading) -> tuple[bytes | Fault, float]:
    started = time.perf_counter()
    try:
        data: bytes | Fault = reading.image.read_bytes()
    except OSError as error:
        data = Fault.of("read", error)
    return data, time.perf_counter() - started
