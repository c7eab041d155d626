"""Pictures are read by threads, prepared on a GPU window by window, and by others where that cannot be."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from featcache.extraction.preparing.card import Card, Loaded
from featcache.extraction.preparing.recipe import Prepared, Reading
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.checked_decoder import PILLOW, Way

if TYPE_CHECKING:
    from types import TracebackType

    from featcache.extraction.preparing.process_reader import ProcessReader

__all__ = ["CardReader"]

_WINDOW = 256
_WINDOWS_AHEAD = 3
_WINDOW_BYTES = 256 << 20  # of files: what of their pixels is on the device at once, the card sees to
_PRODUCT_BYTES = 512 << 20  # of all that waits for its use


@dataclass(eq=False)
class _Place:
    """A reading in its place in the order; ``is_left``: the others do it, ``why``."""

    reading: Reading
    prepared: Prepared | None = None
    is_left: bool = False
    why: str = ""


class CardReader:
    """A GPU that prepares what it can, and others who prepare the rest, in one order; a context.

    Parameters
    ----------
    card : Card
        What the GPU does.
    others : ThreadReader or ProcessReader
        They have the same recipe; entered and left with this.
    n_threads : int
        Pictures that are read at once.
    """

    def __init__(self, card: Card, others: ThreadReader | ProcessReader, *, n_threads: int) -> None:
        self.recipe = others.recipe
        self.decoders = {**others.decoders, card.decoder.name: card.decoder.version}
        self.hint = ""
        n_waiting = _PRODUCT_BYTES // sum(math.prod(shape) for shape in self.recipe.shapes())
        self._window = max(1, min(_WINDOW, n_waiting // (_WINDOWS_AHEAD + 1)))
        self._card, self._others = card, others
        self._files = ThreadPoolExecutor(n_threads, thread_name_prefix="read")
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="card")
        self._order: deque[_Place] = deque()
        self._windows: deque[tuple[Sequence[_Place], Future[None]]] = deque()
        self._left: deque[_Place] = deque()
        self._sent: deque[_Place] = deque()
        self._coming: Iterator[Prepared] | None = None

    def __str__(self) -> str:
        return f"the GPU and {self._others}"

    def __enter__(self) -> Self:
        self._others.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.shutdown(wait=False, cancel_futures=True)
        self._lane.shutdown(wait=True, cancel_futures=True)
        self._files.shutdown(wait=True)
        self._others.__exit__(kind, error, trace)

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order."""
        while True:
            self._settle()
            self._open_windows(readings)
            if not self._order:
                return
            first = self._order[0]
            while first.prepared is None:
                if first.is_left:
                    self._wait_for_others()
                else:
                    self._settle(is_waiting=True)
                    self._open_windows(readings)
            self._order.popleft()
            yield first.prepared

    def _settle(self, *, is_waiting: bool = False) -> None:
        """Leave to the others what the card has left of windows that it is done with; wait for one if there is none."""
        while self._windows and (is_waiting or self._windows[0][1].done()):
            places, done = self._windows.popleft()
            done.result()
            self._leave([each for each in places if each.prepared is None])
            is_waiting = False

    def _open_windows(self, readings: Iterator[Reading | None]) -> None:
        """Draw readings, as many as may be in work."""
        while len(self._windows) < _WINDOWS_AHEAD and len(self._order) <= self._window * _WINDOWS_AHEAD:
            places = self._draw(readings)
            if not places:
                return
            self._order.extend(places)
            mine = [place for place in places if self._card.takes(place.reading)]
            self._leave([place for place in places if place not in mine], self._untrusted)
            if mine:
                loading = [self._files.submit(self._card.load, place.reading) for place in mine]
                self._windows.append((mine, self._lane.submit(self._carry_out, mine, loading)))

    def _draw(self, readings: Iterator[Reading | None]) -> list[_Place]:
        places: list[_Place] = []
        n_bytes = 0
        while len(places) < self._window and n_bytes < _WINDOW_BYTES and (reading := next(readings, None)) is not None:
            places.append(_Place(reading))
            n_bytes += reading.file_bytes or reading.n_bytes
        return places

    def _carry_out(self, places: Sequence[_Place], loading: Sequence[Future[Loaded | str]]) -> None:
        """Prepare a window on the card; what has nothing afterwards is left to the others."""
        mine: list[tuple[_Place, Loaded]] = []
        for place, future in zip(places, loading, strict=True):
            loaded = future.result()
            if isinstance(loaded, Loaded):
                mine.append((place, loaded))
            else:
                place.why = loaded
        found = self._card.prepare([(place.reading, each) for place, each in mine])
        for (place, _), prepared in zip(mine, found, strict=True):
            place.prepared, place.why = prepared, self._untrusted or "refused"

    @property
    def _untrusted(self) -> str:
        return "not trusted" if self._card.is_given_up else ""

    def _leave(self, places: Sequence[_Place], why: str = "") -> None:
        for place in places:
            place.is_left, place.why = True, place.why or why
        self._left.extend(places)

    def _wait_for_others(self) -> None:
        """Take the next of what the others prepare."""
        if self._coming is None:
            self._coming = self._others.prepare(self._draw_left())
        prepared = next(self._coming, None)
        if prepared is None:  # they had nothing left, and ended
            self._coming = None
        else:
            place = self._sent.popleft()
            is_explained = prepared.way != PILLOW or not place.why
            place.prepared = prepared if is_explained else replace(prepared, way=Way(why=place.why))

    def _draw_left(self) -> Iterator[Reading | None]:
        while True:
            if self._left:
                self._sent.append(self._left.popleft())
                yield self._sent[-1].reading
            else:
                yield None
