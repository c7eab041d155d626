"""Pictures are prepared on a GPU window by window, and by others where that cannot be.

The others also make samples with Pillow alone. What the GPU made of these is compared before its turn comes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lanes import CardLanes
from featcache.extraction.preparing.card_share import Share
from featcache.extraction.preparing.card_window import Window
from featcache.extraction.preparing.loaders import Loaders
from featcache.extraction.preparing.recipe import Prepared, Reading
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.checked_decoder import PILLOW, Way

if TYPE_CHECKING:
    from types import TracebackType

    from featcache.extraction.preparing.process_reader import ProcessReader

__all__ = ["CardReader"]

_WINDOW = 256
_WINDOWS_LOADING = 2
_WINDOW_BYTES = 256 << 20  # of files at most: what of their pixels is on the device at once, the card sees to
_WINDOWS_OF_FILES = 32
_PRODUCT_BYTES = 512 << 20  # of all that waits for its use


class CardReader:
    """A GPU that prepares what it can, and others who prepare the rest, in one order; a context.

    Parameters
    ----------
    card : Card
        What the GPU does.
    others : ThreadReader or ProcessReader
        They have the same recipe; entered and left with this.
    n_threads : int
        Pictures that threads of this process read at once.
    n_processes : int
        Processes that read pictures for the card; 0: threads read all.
    memory : int
        Bytes that pictures may take while they are prepared; the others are to have half of it.
    """

    def __init__(
        self, card: Card, others: ThreadReader | ProcessReader, *, n_threads: int, n_processes: int = 0, memory: int
    ) -> None:
        self.recipe = others.recipe
        self.decoders = {**others.decoders, **card.makers}
        self.hint = card.hint
        n_waiting = _PRODUCT_BYTES // sum(math.prod(shape) for shape in self.recipe.shapes())
        self._n_ahead = len(card.lanes) + _WINDOWS_LOADING
        self._window = max(1, min(_WINDOW, n_waiting // (self._n_ahead + 1)))
        self._window_bytes = max(1, min(_WINDOW_BYTES, memory // _WINDOWS_OF_FILES))
        self._card, self._trust, self._others = card, card.trust, others
        self._share = Share.of(card, memory, n_processes or n_threads)
        counts = {"n_threads": n_threads, "n_processes": n_processes, "n_loads": self._n_ahead}
        self._loaders = Loaders(card, self._share, **counts)
        self._lanes = CardLanes(card, self._loaders.free)
        self._order: deque[Window] = deque()
        self._n_waiting = 0
        self._windows: deque[tuple[Window, Future[None]]] = deque()
        self._left: deque[tuple[Window, int, bool]] = deque()
        self._sent: deque[tuple[Window, int, bool]] = deque()
        self._drawing = self._draw_left()
        self._coming: Iterator[Prepared] | None = None

    def __str__(self) -> str:
        return f"the GPU and {self._others}"

    def __enter__(self) -> Self:
        self._others.__enter__()
        try:
            self._loaders.__enter__()
        except BaseException as error:
            self._others.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:  # each of these is done whatever becomes of those before it
            stack.callback(self._forget)
            stack.callback(self._others.__exit__, kind, error, trace)
            stack.callback(self._lanes.close)
            stack.callback(self._loaders.__exit__, kind, error, trace)
            self._lanes.cancel()

    def _forget(self) -> None:
        """Let go of the card and of what it made: what is drawn from here refers to here."""
        self._drawing.close()
        self._coming = None
        self._order.clear()

    def divide(self, products: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
        """Return what the card makes of a picture, and what the others do: it is decoded for each of them."""
        return self._card.divide(products)

    def prepare(self, readings: Iterator[Reading | None]) -> Iterator[Prepared]:
        """Yield what came of each reading, in their order."""
        while True:
            self._advance(readings)
            if not self._order:
                return
            window = self._order[0]
            while window.n_left:
                prepared = self._next_of(window, readings)
                window.prepared[window.n_used] = None
                window.n_used += 1
                self._n_waiting -= 1
                yield prepared
                self._advance(readings)
            self._order.popleft()

    def _next_of(self, window: Window, readings: Iterator[Reading | None]) -> Prepared:
        """Wait for what is next of a window."""
        place = window.n_used
        while (found := window.prepared[place]) is None or self._is_unproven(window, place, found):
            if window.is_settled:
                self._receive()
            else:
                self._settle()
                self._open_windows(readings)
        if self._card.doubts and found.way and not found.way.doubt:
            return replace(found, way=replace(found.way, doubt=self._card.doubts.popleft()))
        return found

    def _advance(self, readings: Iterator[Reading | None]) -> None:
        """Have everybody at work, without waiting."""
        while self._windows and self._windows[0][1].done():
            self._settle()
        self._open_windows(readings)

    def _open_windows(self, readings: Iterator[Reading | None]) -> None:
        """Draw readings, as many as may be in work."""
        while len(self._windows) < self._n_ahead and self._n_waiting <= self._window * self._n_ahead:
            window = self._draw(readings)
            if not window.readings:
                return
            self._order.append(window)
            self._n_waiting += len(window.readings)
            self._divide(window)
            self._others.begin(self._drawing)

    def _draw(self, readings: Iterator[Reading | None]) -> Window:
        drawn: list[Reading] = []
        left, space = self._window_bytes, self._share.window
        while len(drawn) < self._window and left > 0 and space > 0 and (reading := next(readings, None)) is not None:
            drawn.append(reading)
            decoded = self._share.decoded_bytes(reading)
            space -= decoded
            left -= 0 if decoded else reading.file_bytes or reading.n_bytes
        return Window(drawn)

    def _divide(self, window: Window) -> None:
        """Give pictures to the card and to the others, and the card's samples to both."""
        mine = []
        for place, reading in enumerate(window.readings):
            if not self._card.takes(reading):
                self._leave(window, place, self._card.untrusted)
            elif why := self._share.why_not(reading):
                self._leave(window, place, why)
            else:
                mine.append(place)
        window.mine, window.is_settled = mine, not mine
        for place in mine:
            if window.readings[place].is_sample:
                self._check(window, place)
        if mine:
            load = self._loaders.start([window.readings[place] for place in mine])
            self._windows.append((window, self._lanes.begin(window, load)))

    def _settle(self) -> None:
        """Wait for the first window that the card has, and see to it that the others have what it leaves of it."""
        window, done = self._windows.popleft()
        done.result()
        window.is_settled = True
        ways = {id(each.way): each.way for each in window.made.values()}.values()
        window.is_new = not self._trust.is_proven(ways, window.lane)
        for place in window.mine:
            made = window.made.get(place)
            if made is None:
                self._leave(window, place, window.whys[place])
            elif self._trust.is_distrusted(made.way):
                self._leave(window, place, "not trusted")
            elif (window.is_new and self._trust.begin(made.way, window.lane)) or place in window.checks:
                self._hold(window, place, made)
            else:
                window.prepared[place] = made
        window.made = {}
        self._others.begin(self._drawing)

    def _hold(self, window: Window, place: int, made: Prepared) -> None:
        """Have what the card made compared before it is used."""
        window.held[place] = made
        if place not in window.checks:
            self._check(window, place)
        elif window.checks[place] is not None:
            self._compare(window, place)

    def _is_unproven(self, window: Window, place: int, found: Prepared) -> bool:
        """Tell whether a picture is one of the first of its kind after all: damaged ones before it proved nothing."""
        if not window.is_new or place in window.checks or self._trust.is_proven([found.way], window.lane):
            return False
        window.prepared[place] = None
        self._hold(window, place, found)
        return True

    def _compare(self, window: Window, place: int) -> None:
        made, expected = window.held.pop(place), window.checks[place]
        assert expected is not None
        window.checks[place] = None
        pixels = window.fetched.pop(place, None) or self._card.fetch(made)
        window.prepared[place] = compared = self._trust.compare(made, pixels, expected, window.lane)
        if compared.way is not None and compared.way.doubt is not None:
            self._redo()

    def _redo(self) -> None:
        """Leave to the others what the card made of kinds that are distrusted, as far as it was not used."""
        for window in self._order:
            for place, prepared in enumerate(window.prepared):
                if prepared is not None and self._trust.is_distrusted(prepared.way):
                    window.prepared[place] = None
                    self._leave(window, place, "not trusted")

    def _leave(self, window: Window, place: int, why: str) -> None:
        """Have the others make a picture."""
        window.whys[place] = why
        window.checks.pop(place, None)
        self._left.append((window, place, False))

    def _check(self, window: Window, place: int) -> None:
        """Have the others make with Pillow what is to be compared."""
        window.checks[place] = None
        self._left.append((window, place, True))

    def _receive(self) -> None:
        """Wait for the next of what the others make."""
        if self._coming is None:
            self._coming = self._others.prepare(self._drawing)
        prepared = next(self._coming, None)
        if prepared is None:  # they had nothing left, and ended
            self._coming = None
            return
        window, place, is_check = self._sent.popleft()
        if not is_check:
            why = window.whys[place]
            is_explained = prepared.way != PILLOW or not why
            window.prepared[place] = prepared if is_explained else replace(prepared, way=Way(why=why))
        elif place in window.checks:
            window.checks[place] = prepared
            if place in window.held:
                self._compare(window, place)

    def _draw_left(self) -> Generator[Reading | None]:
        while True:
            if self._left:
                window, place, is_check = self._left.popleft()
                self._sent.append((window, place, is_check))
                reading = window.readings[place]
                yield replace(reading, by_pillow=True) if is_check else reading
            else:
                yield None
