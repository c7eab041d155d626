"""What hangs in a benchmark is given up, whatever it hangs in."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.limit import at_most

ROOT = Path(__file__).parents[2]
STUBBORN = """
import threading, time
from benchmarks.limit import at_most
print("begun", flush=True)
with at_most(0.1, grace=0.1):
    while True:
        try:
            threading.Event().wait()
        except TimeoutError:
            pass
"""


def test_a_block_is_left_when_its_time_is_over_and_the_next_is_not() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match=r"not done after 0\.05 s"), at_most(0.05):
        time.sleep(20)
    with at_most(0.05):
        pass
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.slow
def test_a_block_that_does_not_let_go_ends_the_process_and_tells_where_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", STUBBORN], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == "begun\n"
    assert "Timeout" in done.stderr and "threading.py" in done.stderr
