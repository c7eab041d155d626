"""Extractions that are killed for real, at moments that nobody chose kindly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store
from featcache.upkeep.verify import verify

from factories import FakeSpec, make_cache, png, read_manifest, write_dataset

TESTS = Path(__file__).resolve().parents[2]
OPTIONS = {"device": "cpu", "batch_size": 2, "workers": 2, "unit_rows": 3}

CHILD = """
import json, os, pathlib, secrets, signal, sys, time, traceback
sys.path.insert(0, sys.argv[1])
from factories import FakeSpec, make_cache, read_manifest
from featcache.files import owner
from featcache.extraction.run import ExtractOptions, extract

def arm(deadly, back):
    step = 0
    def count():
        nonlocal step
        step += 1
        if step == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
    def counted(real):
        def wrapped(*arguments, **options):
            count()
            return real(*arguments, **options)
        return wrapped
    def write_in_halves(path, data):
        with open(path, "wb") as file:
            for half in (data[: len(data) // 2], data[len(data) // 2 :]):
                count()
                file.write(half)
                file.flush()
    for name in ("link", "fsync", "open", "write", "replace"):
        setattr(os, name, counted(getattr(os, name)))
    for name in ("unlink", "replace"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
    pathlib.Path.write_bytes = write_in_halves
    if back:
        now, now_ns, utime = time.time, time.time_ns, os.utime
        time.time, time.time_ns = lambda: now() - back, lambda: now_ns() - int(back * 1e9)
        os.utime = lambda path, *rest, **more: utime(path, (now() - back,) * 2)
    return lambda: step

def run(data, cache, deadly, back):
    steps = arm(deadly, back)
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    options = ExtractOptions(device="cpu", batch_size=2, workers=1, unit_rows=3, claim_timeout=1.0)
    extract(read_manifest(data), make_cache(cache), specs, options=options)
    return steps()

if len(sys.argv) > 2:
    print(run(*sys.argv[2:4], 0, 0.0))
    raise SystemExit
for line in sys.stdin:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        owner._PROCESS = secrets.token_hex(4)
        try:
            told = {"steps": run(*json.loads(line))}
        except BaseException:
            told = {"error": traceback.format_exc()}
        os.close(reading)
        pathlib.Path(f"/dev/fd/{writing}").open("w").write(json.dumps(told))
        os._exit("error" in told)
    os.close(writing)
    with open(reading) as pipe:
        told = json.loads(pipe.read() or "{}")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps({"steps": 0, "error": ""} | told | {"code": code}), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    code: int
    steps: int
    error: str


class Nursery:
    """A process that has imported all there is to import; every run is a fork of it."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", CHILD, str(TESTS)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, data: Path, cache: Path, deadly: int = 0, back: float = 0.0) -> Ended:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(data), str(cache), deadly, back]) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def arguments(data: Path, cache: Path) -> list[str]:
    return [sys.executable, "-c", CHILD, str(TESTS), str(data), str(cache)]


def vectors(cache: Path) -> dict[str, np.ndarray]:
    return dict(open_store(cache).arrays().features)


def shards(cache: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in cache.glob("features/**/*.h5")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "d", n_captions=4)


def check_kills(nursery: Nursery, data: Path, folder: Path, n_moments: int) -> None:
    """Kill at moments spread over all steps; each time the next run ends with the bytes of an undisturbed one."""
    whole = folder / "whole"
    n_steps = nursery.run(data, whole).steps
    reference, expected_shards = vectors(whole), shards(whole)
    assert n_steps > 100
    for deadly in np.unique(np.linspace(1, n_steps, n_moments).astype(int)).tolist():
        cache = folder / f"killed-{deadly}"
        assert nursery.run(data, cache, deadly).code == -signal.SIGKILL
        if (cache / "cache.json").exists():
            report = verify(make_cache(cache), deep=True)
            assert report.is_sound, (deadly, report.problems)
        finished = nursery.run(data, cache)
        assert finished.code == 0, finished.error
        for modality, expected in reference.items():
            np.testing.assert_array_equal(vectors(cache)[modality], expected)
        assert shards(cache) == expected_shards, deadly
        assert verify(make_cache(cache), deep=True).is_sound
        left = [p for p in cache.rglob("*") if p.name.startswith(".tmp-") or p.match("claims/*/*/*")]
        assert left == [], deadly


@pytest.mark.slow
def test_killed_between_steps_of_publishing_it_resumes_to_the_same_bytes(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    check_kills(nursery, data, tmp_path, n_moments=8)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_a_hundred_moments_it_resumes_to_the_same_bytes(nursery: Nursery, data: Path, tmp_path: Path) -> None:
    check_kills(nursery, data, tmp_path, n_moments=100)


def kill_in_the_middle(nursery: Nursery, data: Path, cache: Path) -> None:
    """Leave a cache with some shards, a claim and a temporary file."""
    n_steps = nursery.run(data, cache.with_name("count")).steps
    for deadly in range(n_steps // 2, n_steps):
        if cache.exists():
            shutil.rmtree(cache)
        assert nursery.run(data, cache, deadly).code == -signal.SIGKILL
        if list(cache.glob("claims/*/*/*.json")) and list(cache.glob("features/*/*/.tmp-*")) and shards(cache):
            return
    raise AssertionError("no step leaves both a claim and a temporary file")


@pytest.mark.slow
def test_a_manifest_edited_between_kill_and_resume_gives_what_one_pass_over_it_gives(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "c"
    kill_in_the_middle(nursery, data, cache)
    assert verify(make_cache(cache), deep=True).is_sound
    lines = data.read_text().splitlines()
    (data.parent / "0-real.png").write_bytes(png(4711))
    data.write_text("\n".join([lines[0], *lines[7:], *lines[1:4]]) + "\n")
    assert nursery.run(data, cache).code == 0
    assert nursery.run(data, tmp_path / "one").code == 0
    for modality, expected in vectors(tmp_path / "one").items():
        np.testing.assert_array_equal(vectors(cache)[modality], expected)
    assert not list(cache.glob("claims/*/*/*.json")) and verify(make_cache(cache), deep=True).is_sound


def move_claims_elsewhere(cache: Path) -> None:
    """Let the claims that are left be those of another machine: nobody here can tell that their owner is dead."""
    for path in cache.glob("claims/*/*/*.json"):
        note = json.loads(path.read_text())
        path.write_text(json.dumps(note | {"host": "elsewhere"}))


@pytest.mark.slow
def test_a_clock_that_is_set_back_between_kill_and_resume_changes_nothing(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "c"
    assert nursery.run(data, whole).code == 0
    kill_in_the_middle(nursery, data, cache)
    move_claims_elsewhere(cache)
    finished = nursery.run(data, cache, back=400 * 86400.0)
    assert finished.code == 0, finished.error
    assert shards(cache) == shards(whole) and not list(cache.glob("claims/*/*/*.json"))


@pytest.mark.slow
def test_the_claim_of_a_published_unit_does_not_outlive_its_dead_owner_elsewhere(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "c"
    n_steps = nursery.run(data, whole).steps
    for deadly in range(n_steps // 2, n_steps):
        shutil.rmtree(cache, ignore_errors=True)
        assert nursery.run(data, cache, deadly).code == -signal.SIGKILL
        if {p.stem for p in cache.glob("claims/*/*/*.json")} & {Path(name).stem for name in shards(cache)}:
            break
    else:
        raise AssertionError("no step leaves the claim of a published unit")
    move_claims_elsewhere(cache)
    assert nursery.run(data, cache).code == 0
    assert shards(cache) == shards(whole) and not list(cache.glob("claims/*/*/*.json"))


@pytest.mark.slow
def test_two_writers_among_the_claims_of_killed_ones_store_every_content_once(
    nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "c"
    assert nursery.run(data, whole).code == 0
    kill_in_the_middle(nursery, data, cache)
    start = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(arguments(data, cache), **start) for _ in range(2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    assert shards(cache) == shards(whole) and verify(make_cache(cache), deep=True).is_sound
    assert not list(cache.glob("claims/*/*/*.json")) and not list(cache.rglob(".tmp-*"))


@pytest.mark.slow
def test_killed_again_and_again_at_random_it_still_arrives(nursery: Nursery, data: Path, tmp_path: Path) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "c"
    assert nursery.run(data, whole).code == 0
    rng = np.random.default_rng(int(os.environ.get("FEATCACHE_KILL_SEED", "0")))
    for _ in range(4):
        process = subprocess.Popen(arguments(data, cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(rng.uniform(0.1, 1.5)))
        process.kill()
        process.wait()
    assert nursery.run(data, cache).code == 0
    for modality, expected in vectors(whole).items():
        np.testing.assert_array_equal(vectors(cache)[modality], expected)


def test_two_writers_at_once_store_every_content_once(data: Path, tmp_path: Path) -> None:
    command = arguments(data, tmp_path / "c")
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    cache = make_cache(tmp_path / "c")
    assert verify(cache, deep=True).is_sound
    spec = FakeSpec("image")
    keys = open_store(tmp_path / "c").shard_set(spec.fingerprint.digest).keys("pooled")
    assert len(keys) == len({bytes(key) for key in keys}) == 12
    extract(read_manifest(data), make_cache(tmp_path / "one"), [spec], options=ExtractOptions(**OPTIONS))
    np.testing.assert_array_equal(vectors(tmp_path / "c")["image"], vectors(tmp_path / "one")["image"])
