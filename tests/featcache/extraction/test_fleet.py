from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from featcache.cache.folder import Cache
from featcache.cache.index import load_index
from featcache.errors import FeatcacheError
from featcache.extraction.fleet import _Job, choose_gpus, extract_on
from featcache.extraction.results import Event, Progress
from featcache.extraction.run import ExtractOptions, extract
from featcache.store.opening import open_store

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset

OPTIONS = ExtractOptions(device="cpu", unit_rows=2, processes=False)


@dataclass(frozen=True)
class OnGpus(FakeSpec):
    """Does something where it is loaded on GPU 1, and is still loading on the others."""

    deed: str = "die"

    def load(self, device: str) -> FakeEncoder:
        if os.environ["CUDA_VISIBLE_DEVICES"] == "1" and self.deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ["CUDA_VISIBLE_DEVICES"] == "1" and self.deed == "fail":
            raise FeatcacheError("no room on it")
        time.sleep(60)
        return FakeEncoder(self)


def stored(cache: Cache) -> dict[str, bytes]:
    arrays = open_store(cache.path).arrays()
    return {name: x.tobytes() for name, x in arrays.features.items()}


@pytest.mark.slow
def test_several_gpus_do_the_same_as_one_and_each_unit_once(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=12))
    (tmp_path / "d" / "3-real.png").write_bytes(b"broken")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image", ("pooled",))]
    one, many = make_cache(tmp_path / "one"), make_cache(tmp_path / "many")
    alone = extract(manifest, one, specs, options=OPTIONS)
    states: list[Progress] = []
    happened: list[Event] = []
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    result = extract_on(
        ("0", "1"), manifest, many, specs, options=OPTIONS, progress=states.append, events=happened.append
    )
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before and not multiprocessing.active_children()
    assert stored(one) == stored(many)
    for ours, theirs in zip(result.sides, alone.sides, strict=True):
        assert (ours.n_contents, ours.n_encoded, ours.n_failed) == (
            theirs.n_contents,
            theirs.n_encoded,
            theirs.n_failed,
        )
        assert ours.n_cached == ours.n_elsewhere == 0
    names = [event.name for event in happened]
    assert names.count("start") == names.count("end") == 1 and names.count("plan") == 2
    assert {s.stage: (s.done, s.total, s.failed) for s in states[1:] if s.stage != "scan"} == {
        "text": (12, 12, 0), "image": (36, 36, 1)
    }  # fmt: skip
    assert load_index(many) and not list(many.path.rglob(".tmp-*"))
    again = extract_on(("0", "1"), manifest, many, specs, options=OPTIONS)
    assert again.n_encoded == 0 and [side.n_cached for side in again.sides] == [12, 35]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "message"), [("die", r"GPU 1 \(pid \d+\) was killed by SIGKILL"), ("fail", r"GPU 1 .* no room on it")]
)
def test_a_process_that_dies_or_fails_ends_the_run_by_name(tmp_path: Path, deed: str, message: str) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    cache = make_cache(tmp_path / "c")
    with pytest.raises(FeatcacheError, match=message):
        extract_on(("0", "1"), manifest, cache, [OnGpus("image", deed=deed)], options=OPTIONS)
    assert not multiprocessing.active_children()
    finished = extract(manifest, cache, [FakeSpec("image")], options=OPTIONS)
    assert finished.sides[0].n_cached + finished.n_encoded == finished.sides[0].n_contents


@pytest.mark.slow
def test_an_interruption_leaves_no_process(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d"))
    cache = make_cache(tmp_path / "c")

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not list((cache.path / "claims").rglob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # A suite that was started in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            extract_on(("0", "1"), manifest, cache, [OnGpus("image", deed="hang")], options=OPTIONS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()
    assert not [p for p in (cache.path / "claims").rglob("*") if p.is_file()]


def test_gpus_are_all_or_a_number_of_those_that_there_are() -> None:
    assert choose_gpus("all", ("3", "5")) == ("3", "5") and choose_gpus("1", ("3", "5")) == ("3",)


@pytest.mark.parametrize(
    ("text", "message"), [("3", "at most the 2"), ("0", "neither"), ("-1", "neither"), ("x", "neither")]
)
def test_other_gpus_are_refused(text: str, message: str) -> None:
    with pytest.raises(FeatcacheError, match=message):
        choose_gpus(text, ("3", "5"))


def test_failures_are_not_tried_again_on_several_gpus(tmp_path: Path) -> None:
    manifest = read_manifest(write_dataset(tmp_path / "d", n_captions=1))
    options = ExtractOptions(device="cpu", retry_failed=True)
    with pytest.raises(FeatcacheError, match="--gpus 1"):
        extract_on(("0", "1"), manifest, make_cache(tmp_path / "c"), [FakeSpec("image")], options=options)


def test_workers_and_memory_are_shared_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[ExtractOptions] = []

    def start(gpus: object, job: _Job) -> None:
        given.append(job.options)
        raise FeatcacheError("enough")

    monkeypatch.setattr("featcache.extraction.fleet._members", start)
    manifest, cache = read_manifest(write_dataset(tmp_path / "d", n_captions=1)), make_cache(tmp_path / "c")
    options = replace(OPTIONS, workers=7, memory=3000)
    with pytest.raises(FeatcacheError, match="enough"):
        extract_on(("0", "1", "2"), manifest, cache, [FakeSpec("image")], options=options)
    assert [(each.workers, each.memory) for each in given] == [(2, 1000)]
