"""Run folders from strangers: each is used or refused, soon and in little memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heads.head.kinds import HEADS
from tests.heads.hostile import spoil
from tests.heads.synthetic import train_run, write_cache

ROOT = Path(__file__).parents[3]
SECONDS, BYTES = 2.0, 500 * 2**20
CHILD = """
import json, pathlib, signal, sys, time
import numpy as np
from heads.errors import HeadsError
from heads.runs.run import load_run

STATUS, CLEAR = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")

def memory(name):
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)

X = np.random.default_rng(0).normal(size=(5, 18)).astype(np.float32)
load_run(pathlib.Path(sys.argv[1])).head.predict_proba(X)
for line in sys.stdin:
    signal.alarm(60)  # whoever waits for a FIFO needs no time of the processor
    if CLEAR.exists():
        CLEAR.write_text("5")  # the peak begins anew
    before, started, error = memory("VmRSS"), time.process_time(), None
    try:
        load_run(pathlib.Path(line.strip())).head.predict_proba(X)
    except HeadsError as caught:
        error = str(caught)
    told = {"error": error, "seconds": time.process_time() - started, "bytes": memory("VmHWM") - before}
    signal.alarm(0)
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of each kind of head."""
    folder = tmp_path_factory.mktemp("runs")
    store = write_cache(folder / "cache")
    settings: dict[str, dict[str, object]] = {
        "mlp": {"epochs": 2},
        "linear": {"strengths": [0.01, 1.0]},
        "lda": {"shrinkages": [0.1, 1.0]},
        "gbdt": {"rounds": 4, "components": 6},
        "ensemble": {"members": "linear,gbdt", "gbdt.rounds": 4, "gbdt.components": 6, "linear.strengths": [0.01]},
    }
    return {kind: train_run(store, folder / kind, head=kind, fusion="concat", **settings[kind]).path for kind in HEADS}


def load_spoilt(run: Path, place: Path, *, n: int) -> list[dict[str, Any]]:
    """Spoil a run ``n`` times, and load each in another process; what it says of them."""
    command = [sys.executable, "-W", "error", "-c", CHILD, str(run)]
    found = []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        for seed in range(n):
            folder = place / str(seed)
            what = spoil(run, folder, seed)
            child.stdin.write(f"{folder}\n")
            child.stdin.flush()
            line = child.stdout.readline()
            assert line, f"seed {seed} ended the process: {what}"
            found.append(json.loads(line) | {"seed": seed, "what": what})
            shutil.rmtree(folder)
        child.stdin.close()
    return found


def assert_soon_and_small(found: list[dict[str, Any]]) -> None:
    for one in found:
        assert one["seconds"] < SECONDS and one["bytes"] < BYTES, one
        assert one["error"] is None or "\n" not in one["error"], one
    n_refused = sum(one["error"] is not None for one in found)
    assert len(found) / 2 < n_refused < len(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "linear")) for kind in HEADS])
def test_a_spoilt_run_is_used_or_refused(runs: dict[str, Path], tmp_path: Path, kind: str) -> None:
    assert_soon_and_small(load_spoilt(runs[kind], tmp_path, n=100))


@pytest.mark.soak
@pytest.mark.parametrize("kind", HEADS)
def test_seven_hundred_spoilt_runs_are_used_or_refused(runs: dict[str, Path], tmp_path: Path, kind: str) -> None:
    assert_soon_and_small(load_spoilt(runs[kind], tmp_path, n=700))
