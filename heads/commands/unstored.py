"""Commands that store what they make in the end: interrupted, they leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from heads.commands.render import notes

__all__ = ["stored_at_the_end"]

_INTERRUPTED = 130


@contextmanager
def stored_at_the_end() -> Iterator[None]:
    """Say that nothing was stored if this is interrupted, and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        notes.print("\ninterrupted; nothing was stored")
        raise typer.Exit(_INTERRUPTED) from None
