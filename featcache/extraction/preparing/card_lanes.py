"""Windows are prepared on the lanes of a card, each by a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import Work
from featcache.extraction.preparing.card_window import Window
from featcache.extraction.preparing.loaders import Load
from featcache.extraction.preparing.recipe import Prepared

__all__ = ["CardLanes"]


class CardLanes:
    """As many threads as a card has lanes.

    Parameters
    ----------
    card : Card
        Whose.
    free : callable
        Is given each load of which nothing is needed any more.
    """

    def __init__(self, card: Card, free: Callable[[Load], None]) -> None:
        self._card, self._free = card, free
        self._threads = ThreadPoolExecutor(len(card.lanes), thread_name_prefix="card")
        self._idle = deque(range(len(card.lanes)))

    def begin(self, window: Window, load: Load) -> Future[None]:
        """Prepare a window, once its load is there; it may be asked for ``made`` and the like when this is done."""
        return self._threads.submit(self._carry_out, window, load)

    def cancel(self) -> None:
        """Begin nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Wait for what was begun."""
        self._threads.shutdown(wait=True)

    def _carry_out(self, window: Window, load: Load) -> None:
        try:
            found = list(zip(window.mine, load.done.result(), strict=True))
            chosen = [(place, each) for place, each in found if not isinstance(each, str)]
            if len(chosen) < len(found):
                untrusted = self._card.untrusted
                window.whys |= {place: each or untrusted for place, each in found if isinstance(each, str)}
            made = self._prepare(window, [(window.readings[place], loaded) for place, loaded in chosen])
        finally:
            self._free(load)
        for (place, _), prepared in zip(chosen, made, strict=True):
            if prepared is not None and place in window.checks:
                # Not in the main thread, which would wait for the forwards that it began.
                window.fetched[place] = fetched = self._card.fetch(prepared)
                prepared = prepared if fetched else None
            if prepared is None:
                window.whys[place] = self._card.untrusted or "refused"
            else:
                window.made[place] = prepared

    def _prepare(self, window: Window, work: Sequence[Work]) -> list[Prepared | None]:
        """Prepare on a lane that nobody has: there are as many threads."""
        window.lane = self._idle.popleft()
        try:
            return self._card.prepare(work, window.lane)
        finally:
            self._idle.appendleft(window.lane)
