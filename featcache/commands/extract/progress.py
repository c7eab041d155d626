"""The progress display of ``featcache extract``."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from featcache.console import human_seconds

if TYPE_CHECKING:
    from featcache.extraction.event_log import EventLog
    from featcache.extraction.results import Progress as State

__all__ = ["ExtractDisplay"]

_LOG_SECONDS = 30.0
_WINDOW_SECONDS = 5.0
_SAMPLE_SECONDS = 0.5
_MIN_SAMPLES = 5
_MIN_SHARE = 0.005
_BAR_WIDTH = 12
_WIDE = 100
_TIME_WIDTH = 8
_TITLES = {"scan": "hashing", "text": "captions", "image": "pictures"}


class _Recent:
    """What a stage did lately: in the last seconds, or over the last few batches where those take longer."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._samples: deque[tuple[float, State]] = deque()

    def note(self, now: float, state: State) -> bool:
        """Take in where the stage stands; returns whether that is long enough after the last time to be shown."""
        if self._samples and now - self._samples[-1][0] < _SAMPLE_SECONDS and state.done < state.total:
            return False
        self._samples.append((now, state))
        while len(self._samples) > _MIN_SAMPLES and now - self._samples[1][0] >= self._span:
            self._samples.popleft()
        return True

    @property
    def rate(self) -> float | None:
        """Contents a second; None in the first moment."""
        (before, first), (now, last) = self._samples[0], self._samples[-1]
        return (last.done - first.done) / (now - before) if now - before >= _SAMPLE_SECONDS else None

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Steps that took time, and their shares of it, the bottleneck first."""
        before, now = self._samples[0][1].seconds, self._samples[-1][1].seconds
        spent = {step: seconds - before.get(step, 0.0) for step, seconds in now.items()}
        total = sum(spent.values())
        shares = {step: seconds / total for step, seconds in spent.items() if total > 0}
        return sorted(
            ((step, share) for step, share in shares.items() if share >= _MIN_SHARE), key=lambda pair: -pair[1]
        )


class ExtractDisplay:
    """A line a stage on a terminal; a line every half minute elsewhere, for the logs of batch jobs.

    It counts pictures and captions, each once for all encoders and views, and says how long the rest may take.
    It names the steps of the work with their shares of the time that passed lately (some 5 s, at least 4 batches;
    in logs since the line before), the bottleneck first. A share of reading, decoding or resizing is the time in which
    all else *waited* for it: what workers prepare while an encoder computes costs nothing and has no share, and where
    several wait for nobody, the work of all of them on what came divides the wait. So the shares add up to 100 %, and
    the first is what to make faster. Parts that do not fit are left out, the least first.

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
        self._has_bar = console.width >= _WIDE
        self._bars = Progress(
            TextColumn("{task.description:8}"),
            *([BarColumn(bar_width=_BAR_WIDTH)] if self._has_bar else []),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._recent: dict[str, _Recent] = {}
        self._total_width = 0
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
            self._recent[state.stage] = _Recent(_WINDOW_SECONDS if self._console.is_terminal else _LOG_SECONDS)
        self._total_width = max(self._total_width, len(str(state.total)))
        self._bars.update(self._tasks[state.stage], completed=state.done, total=state.total)
        recent = self._recent[state.stage]
        if recent.note(now, state) or state.n_waiting:
            self._bars.update(self._tasks[state.stage], detail=self._detail(state, recent))
        if not self._console.is_terminal and now - self._logged >= _LOG_SECONDS:
            self._logged = now
            words = [f"{_TITLES[state.stage]} {state.done:,}/{state.total:,}", _rest(state, recent.rate)]
            self._console.print(" ".join([*filter(None, words), self._detail(state, recent)]), soft_wrap=True)

    def _detail(self, state: State, recent: _Recent) -> str:
        if state.n_waiting:
            return f"waiting for another writer's {state.n_waiting} units"
        rate = recent.rate
        speed = [] if rate is None else [f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"]
        shares = [f"{step} {share:.0%}" for step, share in recent.shares]
        failed = [f"[red]{state.failed} failed[/]"] if state.failed else []
        while len(shares) > 1 and self._width(speed + shares + failed) > self._room:
            shares.pop()
        if self._width(speed + shares + failed) > self._room:
            speed = []
        return " ".join(speed + shares + failed)

    @property
    def _room(self) -> int:
        """Columns that are left beside the name, the numbers and the time of a line."""
        numbers = 2 * self._total_width + 1
        return self._console.width - len("pictures") - numbers - _TIME_WIDTH - 3 - self._has_bar * (_BAR_WIDTH + 1)

    def _width(self, words: list[str]) -> int:
        return Text.from_markup(" ".join(words)).cell_len


def _rest(state: State, rate: float | None) -> str:
    """Say how long the rest takes at a rate; nothing where that is not known, or depends on others."""
    if not rate or state.n_waiting or state.done >= state.total:
        return ""
    return f"{human_seconds((state.total - state.done) / rate)} left"
