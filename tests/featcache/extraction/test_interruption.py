"""An interrupt is not lost where Python drops exceptions."""

from __future__ import annotations

import subprocess
import sys

import pytest

DROPPED = """
import gc, signal, sys, time
from featcache.extraction.interruption import insistent

class Noisy:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with insistent():
        Noisy()
        time.sleep(20)
        print("went on")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs timers that send a signal")
def test_an_interrupt_in_a_finaliser_is_raised_again() -> None:
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "interrupted\n" and done.stderr == ""


def test_other_exceptions_that_are_dropped_are_still_reported() -> None:
    code = DROPPED.replace("signal.raise_signal(signal.SIGINT)", "raise ValueError('lost')").replace("20", "0")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "went on\n" and "ValueError: lost" in done.stderr
