"""Large pictures wait for memory: in order, to the end, and never for ever."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.dataset.sample import ImageFile
from featcache.extraction.preparing.process_reader import ProcessReader
from featcache.extraction.preparing.reader import Reader
from featcache.extraction.preparing.recipe import Prepared, Reading, Recipe
from featcache.extraction.preparing.room import Budget, Room
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.views import View

from factories import FakeSpec, png, run_python

TESTS = Path(__file__).resolve().parents[3]
MEMORY = 1000
N_TOGETHER = {"threads": 6, "processes": 60}  # of processes one may start seconds after the other
READERS = [
    "threads",
    pytest.param(
        "processes", marks=[pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes")]
    ),
]


class Timed(FakeSpec):
    """Takes a while, and tells from when to when."""

    def prepare(self, source: Any) -> Any:
        if source.size == (9, 9):
            raise RuntimeError("a fault of the program")
        started = time.monotonic()
        time.sleep(0.1)
        return np.frombuffer(struct.pack("<dd", started, time.monotonic()), np.uint8)


def open_reader(kind: str, memory: int = MEMORY, n_ahead: int = 4) -> AbstractContextManager[Reader]:
    recipe = Recipe(((View(), Timed("image")),))
    if kind == "threads":
        return ThreadReader(recipe, n_threads=2, n_ahead=n_ahead, memory=memory)
    return ProcessReader(recipe, n_processes=2, n_ahead=n_ahead, memory=memory)


def readings(folder: Path, sizes: Sequence[int]) -> Iterator[Reading]:
    """Requests for little pictures that are said to take so many bytes."""
    for row, n_bytes in enumerate(sizes):
        path, data = folder / f"{row}.png", png(row)
        path.write_bytes(data)
        yield Reading(0, row, ImageFile(str(path)), hashlib.sha256(data).digest(), (0,), n_bytes)


def spans(found: Sequence[Prepared]) -> list[tuple[float, float]]:
    return [struct.unpack("<dd", prepared.inputs[0].tobytes()) for prepared in found]


def overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


@pytest.mark.parametrize("kind", READERS)
def test_pictures_that_do_not_fit_together_are_prepared_one_after_the_other(kind: str, tmp_path: Path) -> None:
    with open_reader(kind) as reader:
        found = list(reader.prepare(readings(tmp_path, [600, 5000, 600, 401, 600, 5000])))
    assert [prepared.reading.row for prepared in found] == list(range(6))
    assert not any(overlap(a, b) for a, b in combinations(spans(found), 2))


@pytest.mark.parametrize("kind", READERS)
def test_pictures_that_fit_together_are_prepared_together(kind: str, tmp_path: Path) -> None:
    with open_reader(kind) as reader:
        found = list(reader.prepare(readings(tmp_path, [500] * N_TOGETHER[kind])))
    assert any(overlap(a, b) for a, b in combinations(spans(found), 2))


@pytest.mark.parametrize("kind", READERS)
def test_small_pictures_wait_for_none(kind: str, tmp_path: Path) -> None:
    """Beside a picture that takes all the memory, and more of which wait, the small ones go on."""
    sizes = [5000, 1] * (N_TOGETHER[kind] // 3) + [1, 1]
    with open_reader(kind, n_ahead=6) as reader:
        found = spans(list(reader.prepare(readings(tmp_path, sizes))))
    large = [span for span, size in zip(found, sizes, strict=True) if size > 1]
    small = [span for span, size in zip(found, sizes, strict=True) if size == 1]
    assert not any(overlap(a, b) for a, b in combinations(large, 2))
    assert any(overlap(a, b) for a in large for b in small)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_pictures_that_fail_give_their_memory_back(kind: str, tmp_path: Path) -> None:
    wanted = list(readings(tmp_path, [5000] * 12))
    for row in range(0, 12, 2):
        (tmp_path / f"{row}.png").unlink() if row % 4 else (tmp_path / f"{row}.png").write_bytes(b"no picture")
    with open_reader(kind) as reader:
        found = list(reader.prepare(iter(wanted)))
        again = list(reader.prepare(iter(wanted[1:2])))
    assert [bool(prepared.faults) for prepared in found] == [True, False] * 6 and again[0].inputs


@pytest.mark.parametrize("kind", READERS)
def test_a_fault_of_the_program_ends_those_who_wait(kind: str, tmp_path: Path) -> None:
    wanted = list(readings(tmp_path, [5000] * 12))
    data = png(3, (9, 9))
    (tmp_path / "3.png").write_bytes(data)
    wanted[3] = Reading(0, 3, wanted[3].image, hashlib.sha256(data).digest(), (0,), 5000)
    with pytest.raises(Exception, match="a fault of the program"), open_reader(kind) as reader:
        list(reader.prepare(iter(wanted)))


def test_a_picture_counts_unless_one_like_it_for_each_worker_takes_less_than_a_64th() -> None:
    budget = Budget(64_000, n_workers=10)
    assert [budget.count(n) for n in (0, 99, 100, 10**9)] == [0, 0, 100, 10**9]
    assert budget.allows(64_000, 0) and budget.allows(10**9, 0) and budget.allows(0, 10**9)
    assert budget.allows(100, 63_900) and not budget.allows(101, 63_900)


def test_never_more_is_taken_than_there_is_but_by_one_alone() -> None:
    room, lock, taken, seen = Room(Budget(1000, 8)), threading.Lock(), [], []

    def work(n_bytes: int) -> None:
        with room.take(n_bytes):
            with lock:
                taken.append(n_bytes)
                seen.append(list(taken))
            time.sleep(0.001)
            with lock:
                taken.remove(n_bytes)

    sizes = np.random.default_rng(0).integers(10, 1200, 300).tolist()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, sizes))
    assert all(sum(together) <= 1000 or len(together) == 1 for together in seen)
    assert max(map(len, seen)) > 1 and not taken


def test_who_waits_gives_up_when_the_room_is_closed() -> None:
    room, held, free = Room(Budget(1000, 2)), threading.Event(), threading.Event()

    def hold() -> None:
        with room.take(1000):
            held.set()
            free.wait(30)

    def wait() -> None:
        with room.take(1):
            pass
        with room.take(600):
            raise AssertionError

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(hold), None
        assert held.wait(30)
        second = pool.submit(wait)
        time.sleep(0.1)
        assert not second.done()
        room.close()
        assert isinstance(second.exception(30), CancelledError) and not first.done()
        free.set()
        assert first.exception(30) is None
    with pytest.raises(CancelledError), room.take(600):
        pass


INTERRUPTED = """
import hashlib, signal, sys, time
from pathlib import Path
from factories import FakeSpec, png
from featcache.dataset.sample import ImageFile
from featcache.extraction.preparing.recipe import Reading, Recipe
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.pictures.views import View

class Slow(FakeSpec):
    def prepare(self, source):
        print("working", flush=True)
        time.sleep(0.5)
        return super().prepare(source)

signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background of a shell
path, data = sys.argv[1], png(0)
Path(path).write_bytes(data)
wanted = [Reading(0, row, ImageFile(path), hashlib.sha256(data).digest(), (0,), 5000) for row in range(64)]
try:
    with ThreadReader(Recipe(((View(), Slow("image")),)), n_threads=16, n_ahead=64, memory=1000) as reader:
        list(reader.prepare(iter(wanted)))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_an_interrupt_ends_those_who_wait(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", INTERRUPTED, str(tmp_path / "picture.png")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    time.sleep(0.3)  # all of them have begun to wait
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    # Sixteen wait, and begin one after the other.
    assert out.count("working") < 8 and "interrupted" in out and errors == ""


FOUR = """
import json, os, sys, threading
from pathlib import Path
from factories import children
from featcache.encoders.spectral.encoder import SpectralSpec
from featcache.extraction.heap import keep_heap
from featcache.dataset.manifest import Manifest
from featcache.extraction.preparing.recipe import Recipe
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.extraction.survey.scan import scan
from featcache.extraction.preparing.process_reader import ProcessReader
from featcache.pictures.views import View

def resident(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return 0

def watch():
    while not stop.wait(0.02):
        peak[0] = max(peak[0], sum(map(resident, family)))

keep_heap()  # as the command does
manifest, recipe, memory = Manifest.from_source(sys.argv[1]), Recipe(((View(), SpectralSpec()),)), int(sys.argv[3])
products = [(row, (0,)) for row in range(len(manifest.samples))]
wanted = list(recipe.readings(scan(manifest).table, manifest.samples, products))
before, peak, stop, thread = resident(os.getpid()), [0], threading.Event(), threading.Thread(target=watch)
if sys.argv[2] == "threads":
    reader = ThreadReader(recipe, n_threads=2, n_ahead=4, memory=memory)
else:
    reader = ProcessReader(recipe, n_processes=2, n_ahead=4, memory=memory)
with reader:
    family = [os.getpid(), *children()]
    thread.start()
    found = list(reader.prepare(iter(wanted)))
    stop.set()
    thread.join()
    kept = sum(map(resident, family))
print(json.dumps([sum(bool(each.inputs) for each in found), peak[0] - before, kept - before]))
"""
SIDE = 13_377
OVERHEAD = 300_000_000
"""Interpreters of two workers with what they import, and strips."""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four palette pictures with transparency, of the largest size allowed, in 0.2 MB each."""
    folder = tmp_path_factory.mktemp("four")
    buffer = io.BytesIO()
    image = Image.new("P", (SIDE, SIDE))
    image.putpalette(bytes(range(256)) * 3)
    image.save(buffer, "PNG", transparency=bytes([200, 0, 51]))
    data = buffer.getvalue()
    for number in range(4):
        comment = b"tEXtComment\0%d" % number
        chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
        (folder / f"{number}.png").write_bytes(data[:-12] + chunk + data[-12:])
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", READERS)
def test_four_of_the_largest_pictures_stay_within_the_memory_given(kind: str, four: Path) -> None:
    memory = 10**9  # one takes 0.9 GB, and counts as more
    n_prepared, taken, kept = json.loads(run_python(FOUR, four, kind, memory))
    assert n_prepared == 4 and taken < memory + OVERHEAD and kept < OVERHEAD
    n_prepared, unbounded, _ = json.loads(run_python(FOUR, four, kind, 10**12))
    assert n_prepared == 4 and unbounded > 1.5 * memory
