"""Memory for pictures while they are prepared: large ones wait until there is room, small ones are not counted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition

from featcache.extraction.heap import trim_heap

__all__ = ["Budget", "Room"]

_SMALL = 64


@dataclass(frozen=True)
class Budget:
    """What all workers together may take.

    Attributes
    ----------
    n_bytes : int
        The memory.
    n_workers : int
        Who prepare one picture each at a time.
    """

    n_bytes: int
    n_workers: int

    def count(self, n_bytes: int) -> int:
        """Return as how much a picture counts: nothing, if one like it for every worker takes less than a 64th."""
        return 0 if n_bytes * self.n_workers * _SMALL < self.n_bytes else n_bytes

    @contextmanager
    def tidy(self, counted: int) -> Iterator[None]:
        """Prepare a picture; one beyond a worker's share without what allocators keep of others, and leave nothing.

        Each thread and process keeps what it once took. As much as its share is within the budget, more would add up.
        """
        is_large = counted * self.n_workers > self.n_bytes
        if is_large:
            trim_heap()
        try:
            yield
        finally:
            if is_large:
                trim_heap()

    def allows(self, n_bytes: int, others: int) -> bool:
        """Tell whether a picture may be prepared beside others; one that is larger than all of it may be, alone."""
        return not n_bytes or not others or others + n_bytes <= self.n_bytes


class Room:
    """The budget of threads.

    Whoever fits goes first. A picture that does not fit is not put off for ever: what is prepared is used in order, so
    that only so many others can come before it.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0
        self._is_closed = False
        self._changed = Condition()

    @contextmanager
    def take(self, n_bytes: int) -> Iterator[None]:
        """Wait for room, and give it back at the end.

        Raises
        ------
        CancelledError
            If it is closed meanwhile.
        """
        counted = self._budget.count(n_bytes)
        if not counted:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._budget.allows(counted, self._taken))
            if self._is_closed:
                raise CancelledError
            self._taken += counted
        try:
            with self._budget.tidy(counted):
                yield
        finally:
            with self._changed:
                self._taken -= counted
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more: those who wait give up."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
