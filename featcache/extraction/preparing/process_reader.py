"""Processes that prepare pictures: pixels come back through shared memory, everything else through a pipe each.

The shared memory has no name and goes with the last of them, whatever ended it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Self

from featcache.dataset.readers.webdataset import TarImage
from featcache.dataset.sample import ImageFile
from featcache.extraction.preparing.crew import Crew, answer
from featcache.extraction.preparing.recipe import PARTS, Fault, Prepared, Reading, Recipe, prepare
from featcache.extraction.preparing.slots import SlotLayout, Slots, shared_file

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ProcessReader", "serve"]

_RING_BYTES = 256 << 20
_MOST_A_TASK = 8
_TASKS_AHEAD = 4
_DOING = "prepared pictures"


@dataclass(frozen=True)
class _Order:
    """One picture for a worker; ``data`` are its bytes, or why there are none, where the worker cannot read it."""

    slot: int
    reading: Reading
    data: bytes | Fault | None

    def __str__(self) -> str:
        return self.reading.image.name


@dataclass(frozen=True)
class _Answer:
    """What became of an order; the pixels are in its slot."""

    slot: int
    products: tuple[int, ...]
    faults: dict[int, Fault]
    seconds: tuple[float, ...]


class ProcessReader:
    """Processes that prepare pictures, and the memory that they share with this one; a context.

    Parameters
    ----------
    recipe : Recipe
        What can be made of a picture. Its encoders travel to the workers: they must be importable there.
    n_processes : int
        How many.
    n_ahead : int
        Pictures that may be in work or wait for their use, as far as 256 MB hold them.
    """

    def __init__(self, recipe: Recipe, *, n_processes: int, n_ahead: int) -> None:
        layout = SlotLayout.of(recipe.shapes())
        n_slots = max(2 * n_processes, min(n_ahead, _RING_BYTES // layout.n_bytes))
        self._n_processes = n_processes
        self._free = deque(range(n_slots))
        self._a_task = max(1, min(_MOST_A_TASK, n_slots // (_TASKS_AHEAD * n_processes)))
        self._fetcher = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._fetched: deque[tuple[Reading, Future[tuple[bytes | Fault, float]] | None]] = deque()
        self._fetch_seconds: dict[int, float] = {}
        self._file = shared_file(n_slots * layout.n_bytes)
        self._slots = Slots(self._file, layout, n_slots)
        self._crew = Crew(n_processes, __name__, descriptors=(self._file,), greeting=(recipe, layout, n_slots))

    def __str__(self) -> str:
        return f"{self._n_processes} process{'es' if self._n_processes > 1 else ''}"

    def __enter__(self) -> Self:
        self._crew.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.__exit__(kind, error, trace)
        self._fetcher.shutdown(wait=error is None, cancel_futures=True)
        os.close(self._file)

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order.

        Raises
        ------
        FeatcacheError
            If a worker ends, or fails for another reason than the picture.
        """
        order: deque[_Order] = deque()
        done: dict[int, _Answer] = {}
        while True:
            self._send(readings, order)
            if not order and not self._fetched:
                return
            while order and order[0].slot not in done:
                done |= {answer.slot: answer for answer in self._receive()}
                self._send(readings, order)
            if order:
                yield self._take(order.popleft(), done)

    def _send(self, readings: Iterator[Reading | None], order: deque[_Order]) -> None:
        """Give work to workers that have little, as long as there are readings and slots."""
        while self._free:
            worker = min(self._crew.workers, key=lambda worker: worker.n_tasks)
            if not worker.is_free:
                return
            self._fetch(readings)
            orders: list[_Order] = []
            while self._fetched and self._free and len(orders) < self._a_task:
                reading, future = self._fetched[0]
                if future is not None and not future.done() and (orders or order):
                    break
                self._fetched.popleft()
                orders.append(self._order(reading, future))
            if not orders:
                return
            order.extend(orders)
            worker.orders.extend(orders)
            worker.send([_portable(order) for order in orders], _DOING)

    def _fetch(self, readings: Iterator[Reading | None]) -> None:
        """Draw readings; pictures that only this process can read are read by a thread, in their order."""
        while len(self._fetched) < min(len(self._free), 2 * _MOST_A_TASK) and (reading := next(readings, None)):
            is_theirs = isinstance(reading.image, ImageFile | TarImage)
            self._fetched.append((reading, None if is_theirs else self._fetcher.submit(_read, reading)))

    def _order(self, reading: Reading, future: Future[tuple[bytes | Fault, float]] | None) -> _Order:
        slot = self._free.popleft()
        if future is None:
            return _Order(slot, reading, None)
        data, self._fetch_seconds[slot] = future.result()
        return _Order(slot, reading, data)

    def _receive(self) -> list[_Answer]:
        """Wait for answers."""
        answers: list[_Answer] = []
        for worker in self._crew.ready():
            found = worker.receive(_DOING)
            for _ in found:
                worker.orders.popleft()
            answers += found
        return answers

    def _take(self, order: _Order, done: dict[int, _Answer]) -> Prepared:
        answer = done.pop(order.slot)
        inputs = {p: self._slots[order.slot, p].copy() for p in answer.products}
        self._free.append(order.slot)
        read, *others = answer.seconds
        seconds = (read + self._fetch_seconds.pop(order.slot, 0.0), *others)
        return Prepared(order.reading, inputs, answer.faults, seconds)


def _portable(order: _Order) -> _Order:
    """Return an order as it can be sent: without the source of a picture whose bytes go with it."""
    if order.data is None:
        return order
    return replace(order, reading=replace(order.reading, image=ImageFile(order.reading.image.name)))


def _read(reading: Reading) -> tuple[bytes | Fault, float]:
    started = time.perf_counter()
    try:
        data: bytes | Fault = reading.image.read_bytes()
    except OSError as error:
        data = Fault.of("read", error)
    return data, time.perf_counter() - started


def serve(pipe_descriptor: int, memory_descriptor: int) -> None:
    """Prepare pictures until the pipe ends: what a worker process does."""
    pipe = Connection(pipe_descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        recipe, layout, n_slots = pipe.recv()
        slots = Slots(memory_descriptor, layout, n_slots)
        answer(pipe, lambda orders: [_carry_out(order, recipe, slots) for order in orders])


def _carry_out(order: _Order, recipe: Recipe, slots: Slots) -> _Answer:
    if isinstance(order.data, Fault):
        faults = dict.fromkeys(order.reading.products, order.data)
        return _Answer(order.slot, (), faults, (0.0,) * len(PARTS))
    prepared = prepare(recipe, order.reading, order.data)
    for product, pixels in prepared.inputs.items():
        slots[order.slot, product][...] = pixels
    return _Answer(order.slot, tuple(prepared.inputs), dict(prepared.faults), prepared.seconds)
