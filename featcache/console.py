"""What the commands share in talking to people and machines: untrusted strings never reach a terminal raw."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.errors import LiveError
from rich.markup import escape

from featcache.project import load_project

if TYPE_CHECKING:
    from rich.progress import Progress

    from featcache.store.soundness import CheckProgress

__all__ = [
    "CheckDigests",
    "cache_folder",
    "console",
    "human_bytes",
    "human_seconds",
    "notes",
    "print_json",
    "printable",
    "safe",
    "show_checks",
]

CheckDigests = Annotated[
    bool,
    typer.Option(
        "--check/--no-check", help="Check the digests of shards when they are first read.", rich_help_panel="Data"
    ),
]
_PATIENCE_SECONDS = 1.0
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

console = Console(highlight=False, emoji=False)
notes = Console(stderr=True, highlight=False, emoji=False)


def printable(text: object) -> str:
    """Return ``text`` with control, format and surrogate characters escaped, so that it can neither move nor colour."""
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in _INVISIBLE else char
        for char in str(text)
    )


def safe(text: object) -> str:
    """Return untrusted text, harmless to the terminal and to rich's markup."""
    return escape(printable(text))


def human_bytes(n: int) -> str:
    """Return a size in bytes for people, e.g. ``12.6 MB`` (powers of 1000)."""
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Return a time for people, e.g. ``3 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_json(value: Any) -> None:
    """Write one JSON object to standard output."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def cache_folder(given: Path | None) -> Path:
    """Return the cache that is meant: the argument, else the project's, else ``./cache``."""
    return given or load_project().cache or Path("cache")


@contextmanager
def show_checks() -> Iterator[CheckProgress | None]:
    """Show on standard error how far checks of digests are while the block runs, if that is a terminal."""
    if not notes.is_terminal:
        yield None
        return
    line = _CheckLine()
    try:
        yield line.update
    finally:
        line.stop()


class _CheckLine:
    """A line that comes when checks have taken a second, and goes with the last of them."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._bars: Progress | None = None

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if done == total:
            self.stop()
        elif self._bars is not None:
            self._bars.update(self._bars.task_ids[0], completed=done)
        elif now - self._since >= _PATIENCE_SECONDS:
            self._start(done, total)

    def _start(self, done: int, total: int) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), DownloadColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=notes, transient=True)
        self._bars.add_task("checking digests", completed=done, total=total)
        with suppress(LiveError):  # before rich 14.1 there can be one display only, and another is on
            self._bars.start()

    def stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
