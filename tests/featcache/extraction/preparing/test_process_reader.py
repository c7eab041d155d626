"""Worker processes: the same pixels as threads, no hang when one dies, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError
from featcache.extraction.preparing.process_reader import ProcessReader
from featcache.extraction.preparing.reader import open_reader
from featcache.extraction.preparing.recipe import STEPS, Reading, Recipe
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.extraction.run import ExtractOptions, ExtractResult, Progress, extract
from featcache.extraction.survey.scan import scan
from featcache.pictures.views import View, parse_view

from factories import FakeSpec, children, make_cache, png, read_manifest, write_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes"),
]

TESTS = Path(__file__).resolve().parents[3]
IMAGE, SPECTRAL = FakeSpec("image"), FakeSpec("spectral", ("radial",), width=3)
GB = 10**9
RECIPE = Recipe(tuple((parse_view(v), s) for v in ("clean", "noise:0.05") for s in (IMAGE, SPECTRAL)))
SMALL: dict[str, Any] = {"device": "cpu", "batch_size": 2, "workers": 2, "unit_rows": 4, "processes": True}


def readings(manifest: Manifest) -> list[Reading]:
    products = [(row, (0, 1, 2, 3) if row % 2 else (2,)) for row in range(len(manifest.samples))]
    return list(RECIPE.readings(scan(manifest).table, manifest.samples, products))


def run(data: Manifest, cache: Path, **settings: Any) -> ExtractResult:
    specs = [IMAGE, SPECTRAL]
    return extract(data, make_cache(cache), specs, views="clean,hflip", options=ExtractOptions(**SMALL | settings))


def shards(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in sorted(cache.glob("features/**/*.h5"))}


@pytest.fixture
def nothing_left() -> Iterator[None]:
    memory = Path("/dev/shm")
    before = children(), set(memory.iterdir()) if memory.is_dir() else set()
    yield
    assert (children(), set(memory.iterdir()) if memory.is_dir() else set()) == before


def test_processes_make_what_threads_make_in_order_with_faults_where_they_belong(
    tmp_path: Path, nothing_left: None
) -> None:
    data = write_dataset(tmp_path / "d", n_captions=20)
    wanted = readings(read_manifest(data))
    (tmp_path / "d" / "3-real.png").write_bytes(b"no picture")
    (tmp_path / "d" / "4-beta.png").unlink()
    with ThreadReader(RECIPE, n_threads=2, n_ahead=8, memory=GB) as reader:
        expected = list(reader.prepare(iter(wanted)))
    with ProcessReader(RECIPE, n_processes=2, n_ahead=11, memory=GB) as reader:
        found = list(reader.prepare(iter(wanted)))
        assert [p.reading.row for p in found] == list(range(60))
        again = list(reader.prepare(iter(wanted[:5])))
    for a, b in zip(expected, found, strict=True):
        assert {k: v.tobytes() for k, v in a.inputs.items()} == {k: v.tobytes() for k, v in b.inputs.items()}
        assert a.faults == b.faults and len(b.seconds) == len(STEPS)
    assert [p.inputs.keys() for p in again] == [p.inputs.keys() for p in expected[:5]]
    assert sum(bool(p.faults) for p in found) == 2


@pytest.mark.slow
def test_processes_are_started_when_there_is_work_for_them(tmp_path: Path, nothing_left: None) -> None:
    wanted = readings(read_manifest(write_dataset(tmp_path / "d", n_captions=20)))
    with ProcessReader(RECIPE, n_processes=3, n_first=1, n_ahead=48, memory=GB) as reader:
        few = list(reader.prepare(iter(wanted[:4])))
        n_for_few = len(reader._crew.workers)
        many = list(reader.prepare(iter(wanted)))
        n_for_many = len(reader._crew.workers)
    assert (n_for_few, n_for_many) == (1, 3)
    assert [p.reading for p in few] == wanted[:4] and [p.reading for p in many] == wanted


class _Cell:
    """A picture that cannot be read elsewhere: it cannot even be sent there."""

    def __init__(self, name: str, data: bytes | None) -> None:
        self.name = name
        self._read = lambda: data

    def read_bytes(self) -> bytes:
        data = self._read()
        if data is None:
            raise OSError(f"{self.name} is gone")
        return data


def test_pictures_that_only_this_process_can_read_are_read_here(tmp_path: Path, nothing_left: None) -> None:
    import hashlib

    wanted = []
    for row in range(30):
        data = png(row)
        cell = _Cell(f"cell {row}", None if row == 7 else data)
        wanted.append(Reading(0, row, cell, hashlib.sha256(data).digest(), (0,), len(data)))
    with ThreadReader(RECIPE, n_threads=1, n_ahead=4, memory=GB) as reader:
        expected = list(reader.prepare(iter(wanted)))
    with ProcessReader(RECIPE, n_processes=1, n_ahead=4, memory=GB) as reader:
        found = list(reader.prepare(iter(wanted)))
    assert [{k: v.tobytes() for k, v in p.inputs.items()} for p in found] == [
        {k: v.tobytes() for k, v in p.inputs.items()} for p in expected
    ]
    assert [p.faults for p in found] == [p.faults for p in expected]
    assert found[7].faults[0].message == "cell 7 is gone" and found[3].reading.image is wanted[3].image


def test_an_extraction_by_processes_publishes_the_shards_of_one_by_threads(tmp_path: Path, nothing_left: None) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    result = run(data, tmp_path / "a")
    run(data, tmp_path / "b", processes=False)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    assert result.passes[0].workers == "2 processes" and result.passes[0].busy["decode"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [True, False])
def test_memory_for_no_picture_changes_nothing_but_the_time(
    tmp_path: Path, processes: bool, nothing_left: None
) -> None:
    data = read_manifest(write_dataset(tmp_path / "d"))
    run(data, tmp_path / "a")
    assert run(data, tmp_path / "b", processes=processes, memory=1).n_failed == 0
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
@pytest.mark.parametrize("memory", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_worker_ends_the_run_with_an_error_that_names_it(
    tmp_path: Path, number: signal.Signals, memory: int | None, nothing_left: None
) -> None:
    data = read_manifest(write_dataset(tmp_path / "d", n_captions=40))
    before, killed = children(), []

    def kill(state: Progress) -> None:
        if state.stage == "image" and state.done and not killed:
            killed.append(min(children() - before))
            os.kill(killed[0], number)

    started = time.monotonic()
    with pytest.raises(
        FeatcacheError, match=r"worker process \d+ ended \(killed by SIG.*what was published stays"
    ) as e:
        # A decoder beside Pillow would be given up instead.
        options = ExtractOptions(**SMALL, memory=memory, decoder="pillow")
        extract(data, make_cache(tmp_path / "c"), [IMAGE], options=options, progress=kill)
    assert f"worker process {killed[0]} ended (killed by {number.name})" in str(e.value)
    assert time.monotonic() - started < 60 and shards(tmp_path / "c")
    assert not list((tmp_path / "c").glob("claims/**/*.json")) and not list((tmp_path / "c").rglob(".tmp-*"))
    assert run(data, tmp_path / "c").n_failed == 0


class Broken(FakeSpec):
    """Fails on a picture for a reason that is not the picture's."""

    def prepare(self, source: Any) -> Any:
        if source.size == (9, 9):
            raise RuntimeError("a fault of the program")
        return super().prepare(source)


def test_an_error_of_the_program_in_a_worker_is_one_line(tmp_path: Path, nothing_left: None) -> None:
    data = write_dataset(tmp_path / "d", n_captions=4)
    (tmp_path / "d" / "2-real.png").write_bytes(png(5, (9, 9)))
    with pytest.raises(FeatcacheError, match=r"a worker failed on '.*\.png': RuntimeError: a fault of the program"):
        extract(read_manifest(data), make_cache(tmp_path / "c"), [Broken("image")], options=ExtractOptions(**SMALL))


def test_the_memory_is_bounded_and_every_worker_can_still_work() -> None:
    class Wide(FakeSpec):
        def prepare(self, source: Any) -> Any:
            import numpy as np

            return np.zeros((64 << 20,), np.uint8)

    reader = ProcessReader(Recipe(((View(), Wide("image")),)), n_processes=2, n_ahead=1000, memory=GB)
    assert len(reader._free) == 4 and 4 * reader._slots.layout.n_bytes <= 256 << 20
    reader.__exit__(None, None, None)


def test_processes_are_for_gpus_with_much_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    monkeypatch.setattr("featcache.encoders.loading.resolve_device", lambda device: "cuda")
    for device, n_contents, processes in (
        ("cuda", 10_000, None), ("cuda", 100, None), ("cpu", 10_000, None), ("cuda", 10_000, False), ("cpu", 9, True),
    ):  # fmt: skip
        options = ExtractOptions(device=device, workers=1, processes=processes)  # type: ignore[arg-type]
        with open_reader(RECIPE, options, n_contents) as reader:
            kinds.append(str(reader))
    assert kinds == ["1 process", "1 thread", "1 thread", "1 thread", "1 process"]


def test_encoders_that_cannot_travel_are_served_by_threads() -> None:
    spec = FakeSpec("image")
    object.__setattr__(spec, "stranger", lambda: None)
    recipe = Recipe(((View(), spec),))
    with open_reader(recipe, ExtractOptions(device="cpu", workers=1, processes=True), 9) as reader:
        assert str(reader) == "1 thread"


CHILD = """
import sys
import typer
sys.path.insert(0, sys.argv[1])
from factories import FakeSpec, make_cache, read_manifest
from featcache.commands.interrupt import interruptible
from featcache.extraction.run import ExtractOptions, extract
if __name__ == "__main__":
    sys.argv[0] = "featcache"
    def tell(state):
        if state.stage == "image" and state.done:
            print("working", flush=True)
    options = ExtractOptions(device="cpu", batch_size=1, workers=2, unit_rows=4, processes=True)
    data, cache, specs = read_manifest(sys.argv[2]), make_cache(sys.argv[3]), [FakeSpec("image")]
    try:
        with interruptible():
            extract(data, cache, specs, options=options, progress=tell)
    except typer.Exit as exit:
        sys.exit(exit.exit_code)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_however_a_run_ends_no_worker_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    data = write_dataset(tmp_path / "d", n_captions=60)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, str(TESTS), str(data), str(tmp_path / "c")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    family = _family(process.pid)
    assert len(family) == 3
    # As a terminal does it: to all processes of the group.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while (left := family & set(_living())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == set()
    if number != signal.SIGKILL:
        assert process.returncode == 130 and "Traceback" not in errors, errors
        assert not list((tmp_path / "c").rglob(".tmp-*"))


def _living() -> dict[int, int]:
    """Processes that run, and their parents."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def _family(pid: int) -> set[int]:
    """A process and its children."""
    return {child for child, parent in _living().items() if pid in (child, parent)}
