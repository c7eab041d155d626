"""Being interrupted: Ctrl-C and SIGTERM end the work in good order, and say how to go on."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from featcache.console import notes, safe
from featcache.extraction.interruption import insistent

__all__ = ["interruptible"]

_TIDY_SECONDS = 5.0
_INTERRUPTED = 130


class _Handler:
    """The first signal interrupts; while things are tidied up further ones are ignored, after that they kill."""

    def __init__(self) -> None:
        self.deadline: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + _TIDY_SECONDS
            raise KeyboardInterrupt
        if time.monotonic() > self.deadline:
            os._exit(_INTERRUPTED)


@contextmanager
def interruptible(program: str = "featcache", *more: str) -> Iterator[None]:
    """Run a command of ``program`` that can be started again to go on: interrupted, it says so and exits 130.

    Parameters
    ----------
    program : str
    more : str
        Words that the command needs to go on, beside those it was called with.
    """
    handler = _Handler()
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with insistent():
            yield
    except KeyboardInterrupt:
        notes.print("\ninterrupted; what is stored already stays. To go on:", soft_wrap=True)
        notes.print("  " + safe(shlex.join([program, *sys.argv[1:], *more])), soft_wrap=True)
        # Nothing is left to lose: should a thread hang in reading a file, the next signal ends the process.
        handler.deadline = 0.0
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        for number, previous in before.items() if handler.deadline is None else ():
            signal.signal(number, previous)
