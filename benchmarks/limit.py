"""A part of a benchmark that hangs does not take the others with it."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["at_most"]

_GRACE_SECONDS = 30


@contextmanager
def at_most(seconds: float, *, grace: float = _GRACE_SECONDS) -> Iterator[None]:
    """Limit the time of a block of the main thread.

    What hangs outside the interpreter, or while it is given up, cannot be ended alone: after ``grace`` more seconds the
    process ends with exit code 1, and standard error tells where each of its threads is.

    Raises
    ------
    TimeoutError
        In the block, when its time is over.
    """

    def ring(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(seconds + grace, exit=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
