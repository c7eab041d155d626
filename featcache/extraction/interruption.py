"""Interrupts that are not lost: Python drops an exception that is raised in a finaliser or a weakref's callback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["insistent"]

_AGAIN_SECONDS = 0.05


@contextmanager
def insistent() -> Iterator[None]:
    """Raise a KeyboardInterrupt again, a moment later, that came where Python could only report and drop it.

    Without it such an interrupt would be as if it had never been, and a program that ignores further ones would go on.
    """
    before = sys.unraisablehook

    def again(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def hook(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt) or not hasattr(signal, "setitimer"):
            before(dropped)
            return
        # Interrupts are raised in the main thread, and so is this called there.
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
