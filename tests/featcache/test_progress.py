"""The progress display says what holds the work up, in one line of 80 columns."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from featcache.commands.progress import ExtractDisplay
from featcache.pipeline.results import Progress

BUSY = {"read": 0.1, "decode": 1.0, "views": 0.1, "resize": 0.5, "load": 0.0, "forward": 8.0, "write": 0.3}


def shown(state: Progress, *, is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The last lines of each stage, as they are on a screen."""
    now = 100.0
    monkeypatch.setattr("featcache.commands.progress.time.monotonic", lambda: now)
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
    assert "pictures" in line and "774/s forward 80% 12 failed" in line and len(line) <= 80


def test_who_waits_for_another_writer_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Progress("image", 336_000, 1_344_000, failed=12, seconds=BUSY, n_waiting=123)
    line = shown(state, is_terminal=True, monkeypatch=monkeypatch)[-1]
    assert "waiting for another writer's 123 units" in line and len(line) <= 80
