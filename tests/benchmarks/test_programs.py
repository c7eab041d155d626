"""Benchmarks start on a machine that has neither a GPU nor what only GPUs need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from importlib import import_module
sys.modules["triton"] = None
for name in sys.argv[1:]:
    import_module(f"benchmarks.{name}").main
"""


@pytest.mark.slow
def test_every_benchmark_can_be_imported_without_triton() -> None:
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
    assert len(names) > 10
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
