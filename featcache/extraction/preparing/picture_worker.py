"""What a worker process does: it prepares pictures, whose pixels go back through memory that it shares.

Here is also what is said to it and by it: these objects travel through a pipe.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TypeAlias

from featcache.dataset.sample import ImageFile
from featcache.extraction.fault import Fault
from featcache.extraction.preparing.crew import answer
from featcache.extraction.preparing.recipe import STEPS, Reading, Recipe, prepare
from featcache.extraction.preparing.room import Budget
from featcache.extraction.preparing.slots import SlotLayout, Slots
from featcache.pictures.checked_decoder import CheckedDecoder, Way
from featcache.pictures.jpeg_kind import JpegKind

__all__ = ["Answer", "Greeting", "Order", "PictureBytes", "Task", "serve"]

PictureBytes: TypeAlias = bytes | Fault | None
"""Bytes of a picture that its worker cannot read, or why there are none; None: the worker reads it."""


@dataclass(frozen=True)
class Greeting:
    """What a worker is told first."""

    recipe: Recipe
    budget: Budget
    layout: SlotLayout
    n_slots: int


@dataclass(frozen=True)
class Order:
    """One picture for a worker; ``counted`` is what it counts as of the memory for pictures."""

    slot: int
    reading: Reading
    counted: int
    data: PictureBytes = None

    def __str__(self) -> str:
        return self.reading.image.name

    def portable(self) -> Order:
        """Return it as it can be sent: without the source of a picture whose bytes go with it."""
        if self.data is None:
            return self
        return replace(self, reading=replace(self.reading, image=ImageFile(self.reading.image.name)))


@dataclass(frozen=True)
class Task:
    """Some pictures, and what was found out meanwhile about the decoder that is not Pillow."""

    orders: tuple[Order, ...]
    distrusted: frozenset[JpegKind] = frozenset()
    is_given_up: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of an order; the pixels are in its slot."""

    slot: int
    products: tuple[int, ...]
    faults: dict[int, Fault]
    seconds: tuple[float, ...]
    way: Way | None = None


def serve(pipe_descriptor: int, memory_descriptor: int) -> None:
    """Prepare pictures until the pipe ends."""
    pipe = Connection(pipe_descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        greeting: Greeting = pipe.recv()
        bench = _Bench(greeting, Slots(memory_descriptor, greeting.layout, greeting.n_slots))
        answer(pipe, bench.carry_out)


class _Bench:
    """What a worker has at hand."""

    def __init__(self, greeting: Greeting, slots: Slots) -> None:
        self._greeting, self._slots = greeting, slots
        self._decoder = CheckedDecoder(greeting.recipe.decoder)

    def carry_out(self, task: Task) -> list[Answer]:
        self._decoder.distrust(task.distrusted)
        if task.is_given_up:
            self._decoder.give_up()
        return [self._prepare(order) for order in task.orders]

    def _prepare(self, order: Order) -> Answer:
        if isinstance(order.data, Fault):
            faults = dict.fromkeys(order.reading.products, order.data)
            return Answer(order.slot, (), faults, (0.0,) * len(STEPS))
        with self._greeting.budget.tidy(order.counted):
            prepared = prepare(self._greeting.recipe, order.reading, order.data, decoder=self._decoder)
        for product, pixels in prepared.inputs.items():
            self._slots[order.slot, product][...] = pixels
        inputs = tuple(prepared.inputs)
        return Answer(order.slot, inputs, dict(prepared.faults), prepared.seconds, prepared.way)
