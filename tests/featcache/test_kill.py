"""Extractions that are killed for real, at moments that nobody chose kindly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featcache.extract import ExtractOptions, extract
from featcache.store import open_store
from featcache.verify import verify

from factories import FakeSpec, make_cache, read_manifest, write_dataset

TESTS = Path(__file__).resolve().parents[1]
OPTIONS = {"device": "cpu", "batch_size": 2, "workers": 2, "unit_rows": 3}

CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from factories import FakeSpec, make_cache, read_manifest
from featcache import publish
from featcache.extract import ExtractOptions, extract
step, deadly = 0, int(sys.argv[4])
def count(name, real):
    def wrapped(*arguments, **options):
        global step
        step += 1
        if step == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return wrapped
for name in ("link", "fsync", "open"):
    setattr(os, name, count(name, getattr(os, name)))
import h5py
h5py.File.close = count("close", h5py.File.close)
specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
options = ExtractOptions(device="cpu", batch_size=2, workers=1, unit_rows=3)
extract(read_manifest(sys.argv[2]), make_cache(sys.argv[3]), specs, options=options)
print(step)
"""


def run_child(data: Path, cache: Path, deadly: int) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", CHILD, str(TESTS), str(data), str(cache), str(deadly)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120)


def vectors(cache: Path) -> dict[str, np.ndarray]:
    return dict(open_store(cache).arrays().features)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "d", n_captions=4)


def test_killed_between_any_two_steps_of_publishing_it_resumes_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    n_steps = int(run_child(data, whole, deadly=0).stdout)
    reference = vectors(whole)
    shards = {p.name: p.read_bytes() for p in whole.glob("features/**/*.h5")}
    moments = sorted({*np.linspace(1, n_steps, 12).astype(int).tolist(), 2, 3})
    assert n_steps > 20
    for deadly in moments:
        cache = tmp_path / f"killed-{deadly}"
        assert run_child(data, cache, deadly).returncode == -signal.SIGKILL
        finished = run_child(data, cache, deadly=0)
        assert finished.returncode == 0, finished.stderr
        for modality, expected in reference.items():
            np.testing.assert_array_equal(vectors(cache)[modality], expected)
        assert {p.name: p.read_bytes() for p in cache.glob("features/**/*.h5")} == shards
        assert verify(make_cache(cache), deep=True).is_sound


def test_killed_again_and_again_at_random_it_still_arrives(data: Path, tmp_path: Path) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "c"
    assert run_child(data, whole, deadly=0).returncode == 0
    arguments = [sys.executable, "-c", CHILD, str(TESTS), str(data), str(cache), "0"]
    rng = np.random.default_rng(int(os.environ.get("FEATCACHE_KILL_SEED", "0")))
    for _ in range(4):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(rng.uniform(0.1, 1.5)))
        process.kill()
        process.wait()
    assert run_child(data, cache, deadly=0).returncode == 0
    for modality, expected in vectors(whole).items():
        np.testing.assert_array_equal(vectors(cache)[modality], expected)


def test_two_writers_at_once_store_every_content_once(data: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CHILD, str(TESTS), str(data), str(tmp_path / "c"), "0"]
    writers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
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
