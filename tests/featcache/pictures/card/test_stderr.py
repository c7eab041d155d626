"""What a library writes to standard error is kept off the terminal, and on it again afterwards."""

from __future__ import annotations

import os

import pytest

from featcache.pictures.card.stderr import keep_stderr


def test_lines_are_kept_also_of_c_and_the_terminal_is_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), keep_stderr() as lines:
        os.write(2, b"Failed to load a library\n")
        os.write(2, b"and more\n")
        raise RuntimeError
    os.write(2, b"seen\n")
    assert lines == ["Failed to load a library", "and more"]
    assert capfd.readouterr().err == "seen\n"
