"""The progress display says what holds the work up, in one line of 80 columns."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from featcache.commands.extract.progress import ExtractDisplay
from featcache.extraction.results import Progress

BUSY = {"read": 0.1, "decode": 1.0, "views": 0.1, "resize": 0.5, "load": 0.0, "forward": 8.0, "write": 0.3}


def shown(state: Progress, *, is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The last lines of each stage, as they are on a screen."""
    now = 100.0
    monkeypatch.setattr("featcache.commands.extract.progress.time.monotonic", lambda: now)
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=is_terminal, highlight=False, color_system=None)
    with ExtractDisplay(console) as display:
        display.update(Progress(state.stage, 0, state.total))
        now += 31.0
        display.update(state)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).splitlines()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_bottleneck_and_its_share_are_named(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Progress("image", 24_000, 1_344_000, failed=12, seconds=BUSY)
    line = shown(state, is_terminal=is_terminal, monkeypatch=monkeypatch)[-1]
    assert "pictures" in line and "774/s forward 80% decode 10% " in line and "12 failed" in line and len(line) <= 80


class Clock:
    """A display on a terminal, or in a log, and the time that passes in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int = 80, *, is_terminal: bool = True) -> None:
        self.now = 100.0
        monkeypatch.setattr("featcache.commands.extract.progress.time.monotonic", lambda: self.now)
        self.out = io.StringIO()
        options = {"force_terminal": is_terminal, "highlight": False, "color_system": None}
        self.display = ExtractDisplay(Console(file=self.out, width=width, **options))
        self.spent = dict.fromkeys(BUSY, 0.0)
        self.done = 0

    def work(self, n: int, total: int = 500, stage: str = "image", failed: int = 0, **seconds: float) -> None:
        self.now += sum(seconds.values())
        self.done += n
        self.spent |= {part: self.spent[part] + more for part, more in seconds.items()}
        self.display.update(Progress(stage, self.done, total, failed, dict(self.spent)))

    @property
    def line(self) -> str:
        self.display._bars.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.out.getvalue())
        return shown.replace("\r", "\n").rstrip().splitlines()[-1].rstrip()


def test_a_start_that_is_over_is_not_named_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with clock.display:
        clock.work(0)
        clock.work(8, load=30.0, forward=1.0)
        assert "0.3/s load 97% forward 3%" in clock.line
        for _ in range(10):
            clock.work(8, forward=0.6, decode=0.2, resize=0.1, read=0.1)
        assert "8.0/s forward 60% decode 20% read 10% resize 10%" in clock.line


def test_slow_batches_are_averaged_over_several(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with clock.display:
        clock.work(0)
        for i in range(20):
            clock.work(32, forward=20.0 if i % 2 else 10.0)
        assert "2.1/s forward 100%" in clock.line


def test_small_batches_do_not_make_the_line_flicker(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = Clock(monkeypatch), set()
    with clock.display:
        clock.work(0)
        for i in range(200):
            clock.work(1, **{"forward" if i % 2 else "decode": 0.01})
            seen.add(clock.line.partition("/s")[2])
    assert len(seen) <= 5


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 79, 80, 100, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, width)
    with clock.display:
        clock.work(0, 1_344_000)
        for _ in range(9):
            clock.work(1000, 1_344_000, failed=123, **BUSY)
        assert "forward" in clock.line or width < 50
        assert "forward 80% decode 10% " in clock.line or width < 79
        assert "123 failed" in clock.line or width < 50
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", clock.out.getvalue())
    assert max(map(len, re.split(r"[\r\n]", shown))) <= width


def test_a_log_tells_of_the_time_since_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, is_terminal=False)
    with clock.display:
        clock.work(0)
        for _ in range(30):
            clock.work(1, load=1.0)
        for _ in range(30):
            clock.work(2, forward=1.0)
    first, second = clock.out.getvalue().splitlines()
    assert "1.0/s load 100%" in first and "2.0/s forward 100%" in second


def test_a_log_says_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, is_terminal=False)
    with clock.display:
        clock.work(0)
        for n in (60, 120, 320):
            clock.work(n, forward=31.0)
    first, second, last = clock.out.getvalue().splitlines()
    assert first.startswith("pictures 60/500 4 min left 1.9/s forward 100%")
    assert second.startswith("pictures 180/500 2 min left 2.9/s") and last.startswith("pictures 500/500 5.4/s")


def test_who_waits_for_another_writer_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Progress("image", 336_000, 1_344_000, failed=12, seconds=BUSY, n_waiting=123)
    line = shown(state, is_terminal=True, monkeypatch=monkeypatch)[-1]
    assert "waiting for another writer's 123 units" in line and len(line) <= 80
