"""What libraries of C write to the terminal by themselves, kept off it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["keep_stderr"]


@contextmanager
def keep_stderr() -> Iterator[list[str]]:
    """Keep what is written to standard error, by whomever in this process, and also by libraries of C.

    Yields
    ------
    list of str
        Empty; has the lines when the context is left. Nothing is kept where standard error is closed.
    """
    lines: list[str] = []
    try:
        terminal = os.dup(2)
    except OSError:
        yield lines
        return
    with tempfile.TemporaryFile() as file:
        _flush()
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            _flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # None where there is no terminal at all
        sys.stderr.flush()
