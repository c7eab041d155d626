"""The progress display of ``featcache extract``."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from featcache.pipeline.eventlog import EventLog
    from featcache.pipeline.results import Progress as State

__all__ = ["ExtractDisplay"]

_LOG_SECONDS = 30.0
_TITLES = {"scan": "hashing", "text": "captions", "image": "pictures"}


class ExtractDisplay:
    """A bar a stage on a terminal; a line every half minute elsewhere, for the logs of batch jobs.

    Parameters
    ----------
    console : Console
        Where to show it.
    log : EventLog, optional
        Where to write it too.
    """

    def __init__(self, console: Console, log: EventLog | None = None) -> None:
        self._console = console
        self._log = log
        self._bars = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, state: State) -> None:
        """Show where the extraction stands."""
        if self._log is not None:
            self._log.update(state)
        now = time.monotonic()
        if state.stage not in self._tasks:
            self._tasks[state.stage] = self._bars.add_task(_TITLES[state.stage], total=state.total, detail="")
            self._started[state.stage] = now
        detail = self._detail(state, now)
        self._bars.update(self._tasks[state.stage], completed=state.done, total=state.total, detail=detail)
        if not self._console.is_terminal and now - self._logged >= _LOG_SECONDS:
            self._logged = now
            self._console.print(f"{_TITLES[state.stage]} {state.done:,}/{state.total:,} {detail}", soft_wrap=True)

    def _detail(self, state: State, now: float) -> str:
        if state.n_waiting:
            return f"waiting for another writer's {state.n_waiting} units"
        elapsed = now - self._started[state.stage]
        parts = [f"{state.done / elapsed:.0f}/s"] if elapsed > 0.5 else []
        if state.bottleneck is not None:
            part, share = state.bottleneck
            parts.append(f"{part} {share:.0%}")
        if state.failed:
            parts.append(f"[red]{state.failed} failed[/]")
        return " ".join(parts)
