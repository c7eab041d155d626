"""Text for people; and what is shown while digests are checked: nothing, unless it takes a while and somebody looks."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from featcache import console
from featcache.console import human_bytes, printable


class Screen:
    """Standard error, and the time that passes before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = True) -> None:
        self.now, self._out = 100.0, io.StringIO()
        self.console = Console(file=self._out, width=80, force_terminal=is_terminal, color_system=None)
        monkeypatch.setattr(console, "notes", self.console)
        monkeypatch.setattr("featcache.console.time.monotonic", lambda: self.now)

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._out.getvalue())

    @property
    def is_cursor_visible(self) -> bool:
        return self._out.getvalue().rfind("\x1b[?25h") >= self._out.getvalue().rfind("\x1b[?25l")


def test_untrusted_text_cannot_command_a_terminal() -> None:
    assert printable("a\x1b[31mb\nc\u202ed\u2028") == "a\\x1b[31mb\\nc\\u202ed\\u2028"
    assert printable("naïve 日本 🎈") == "naïve 日本 🎈"


def test_sizes_are_readable() -> None:
    assert [human_bytes(n) for n in (0, 999, 12_600_000, 5 * 10**15)] == ["0 B", "999 B", "12.6 MB", "5000.0 TB"]


def test_a_check_of_less_than_a_second_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with console.show_checks() as progress:
        assert progress is not None
        for done in range(0, 101, 10):
            progress(done, 100)
            screen.now += 0.05
    assert screen.shown == ""


def test_a_longer_check_shows_how_far_it_is_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with console.show_checks() as progress:
        assert progress is not None
        progress(0, 4_000_000_000)
        screen.now += 2
        progress(1_000_000_000, 4_000_000_000)
        assert "checking digests" in screen.shown and "1.0/4.0 GB" in screen.shown
        assert max(map(len, re.split(r"[\r\n]", screen.shown))) <= 80
        progress(4_000_000_000, 4_000_000_000)
        assert screen.is_cursor_visible
        screen.console.print("what comes next")
    assert screen.shown.splitlines()[-1].endswith("what comes next")


def test_many_short_checks_that_take_a_second_together_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with console.show_checks() as progress:
        assert progress is not None
        for _ in range(4):
            for done in range(3):
                progress(done, 2)
                screen.now += 0.2
    assert "checking digests" in screen.shown


def test_an_interrupted_check_leaves_the_screen_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with pytest.raises(KeyboardInterrupt), console.show_checks() as progress:
        assert progress is not None
        progress(0, 100)
        screen.now += 2
        progress(1, 100)
        assert not screen.is_cursor_visible
        raise KeyboardInterrupt
    assert screen.is_cursor_visible


def test_a_check_within_another_display_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with console.show_checks() as progress, Progress(console=screen.console) as other:
        assert progress is not None
        other.add_task("training", total=None)
        for done in range(5):
            progress(done, 4)
            screen.now += 1
    assert "training" in screen.shown and screen.is_cursor_visible


def test_a_log_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Screen(monkeypatch, is_terminal=False)
    with console.show_checks() as progress:
        assert progress is None
