"""Laws of an interruption: what has its vectors is stored, and going on is as if there had been none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.cache.failures import read_failures
from featcache.cache.folder import Cache
from featcache.extraction.encoding.side import Side
from featcache.extraction.results import Event
from featcache.extraction.run import ExtractOptions, ExtractResult, extract
from featcache.store.shard_set import ShardSet
from featcache.upkeep.verify import verify

from factories import FakeEncoder, FakeSpec, make_cache, read_manifest, write_dataset

TESTS = Path(__file__).resolve().parents[3]
VIEWS = ("clean", "hflip")


@dataclass(frozen=True)
class Mixing(FakeSpec):
    """An encoder whose vectors hang on what else is in their batch; something happens at one: counted from 1."""

    at: int = 0
    deed: Callable[[], None] | None = field(default=None, compare=False)

    def load(self, device: str, *, compile: bool = False) -> FakeEncoder:
        return MixingEncoder(self)


@dataclass(frozen=True)
class MixingEncoder(FakeEncoder):
    spec: Mixing

    def encode(self, batch: Sequence[Any]) -> Mapping[str, NDArray[np.float32]]:
        vectors = super().encode(batch)
        if len(self.spec.log) == self.spec.at and self.spec.deed is not None:
            self.spec.deed()
        return {name: x + x.sum(axis=0) for name, x in vectors.items()}


def interrupt() -> None:
    raise KeyboardInterrupt


def run(data: Path, cache: Path, *specs: FakeSpec, **more: Any) -> ExtractResult:
    options = ExtractOptions(device="cpu", batch_size=4, workers=1, unit_rows=24, processes=False)
    return extract(read_manifest(data), make_cache(cache), specs, views=VIEWS, options=options, **more)


def vectors(cache: Path, *specs: FakeSpec) -> dict[tuple[str, str, str, bytes], bytes]:
    """What is stored: each content once for every output."""
    found: dict[tuple[str, str, str, bytes], bytes] = {}
    for spec in specs:
        for view in VIEWS if spec.modality == "image" else VIEWS[:1]:
            shards = ShardSet.open(Cache.open(cache), spec.fingerprint, view)
            for output in spec.outputs if shards.shards else ():
                keys = shards.keys(output)
                values, _ = shards.gather([output], keys)
                names = [(spec.fingerprint.short, view, output, bytes(key)) for key in keys]
                assert len(set(names)) == len(names)
                found |= zip(names, (value.tobytes() for value in values), strict=True)
    return found


def failed(cache: Path, spec: FakeSpec) -> dict[tuple[str, str], int]:
    return {
        (view, failure.sample_id): failure.attempt
        for view in VIEWS
        for failure in read_failures(Cache.open(cache), spec.fingerprint, view)
    }


def is_in_order(cache: Path) -> bool:
    return verify(make_cache(cache), deep=True).is_sound and not list(cache.glob("claims/*/*/*"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve captions, and 36 pictures of which the third cannot be decoded."""
    data = write_dataset(tmp_path / "d", n_captions=12)
    (data.parent / "0-alpha.png").write_bytes(b"no picture")
    return data


@pytest.mark.parametrize("at", [4, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 2, 11, 14))])
def test_an_interruption_stores_what_has_its_vectors_and_going_on_encodes_the_rest_as_if_there_had_been_none(
    data: Path, tmp_path: Path, at: int
) -> None:
    cache, whole = tmp_path / "c", Mixing("image", ("pooled", "cls"))
    expected = run(data, tmp_path / "whole", whole).n_encoded
    begun = Mixing("image", ("pooled", "cls"), at=at, deed=interrupt)
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        run(data, cache, begun, events=events.append)
    assert is_in_order(cache)
    stored = vectors(cache, whole)
    assert len(stored) == 2 * sum(begun.log[:-1]) == 2 * sum(e.fields["n_rows"] for e in events if e.name == "unit")
    resumed = Mixing("image", ("pooled", "cls"))
    assert run(data, cache, resumed).n_encoded == expected - len(stored) // 2 == sum(resumed.log)
    assert vectors(cache, whole) == vectors(tmp_path / "whole", whole)
    assert failed(cache, whole) == failed(tmp_path / "whole", whole) == {(v, "0-alpha"): 1 for v in VIEWS}
    assert is_in_order(cache)


def test_what_failed_in_a_unit_that_is_interrupted_is_tried_again(data: Path, tmp_path: Path) -> None:
    spec = Mixing("image", at=4, deed=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "c", spec)
    assert vectors(tmp_path / "c", spec) and not failed(tmp_path / "c", spec)


@pytest.mark.slow
def test_who_is_interrupted_again_and_again_comes_to_the_end(data: Path, tmp_path: Path) -> None:
    specs = Mixing("text", ("cls",)), Mixing("image", weights="w1"), Mixing("image")
    sizes = [0]
    for n in count(1):
        try:
            run(data, tmp_path / "c", *(replace(spec, at=3, deed=interrupt, log=[]) for spec in specs))
            break
        except KeyboardInterrupt:
            sizes.append(len(vectors(tmp_path / "c", *specs)))
            assert is_in_order(tmp_path / "c") and n < 50
    assert len(sizes) > 5 and np.diff(sizes).min() > 0
    run(data, tmp_path / "whole", *specs)
    assert vectors(tmp_path / "c", *specs) == vectors(tmp_path / "whole", *specs)


def test_an_interruption_between_two_turns_stores_what_has_its_vectors(data: Path, tmp_path: Path) -> None:
    spec = Mixing("image")

    def look(state: Any) -> None:
        if state.stage == "image" and state.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "c", spec, progress=look)
    assert len(vectors(tmp_path / "c", spec)) >= 2 * 8 and is_in_order(tmp_path / "c")


@pytest.mark.parametrize("when", ["after", pytest.param("before", marks=pytest.mark.slow)])
def test_an_interruption_while_an_interrupted_unit_is_published_leaves_a_sound_cache(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    cache, spec, write = tmp_path / "c", Mixing("image", at=7, deed=interrupt), Side._write

    def interrupted(side: Side, encoded: Any) -> bool:
        if when == "after":
            write(side, encoded)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Side, "_write", interrupted)
        run(data, cache, spec)
    assert is_in_order(cache) and bool(vectors(cache, spec)) == (when == "after")
    run(data, cache, Mixing("image"))
    run(data, tmp_path / "whole", Mixing("image"))
    assert vectors(cache, spec) == vectors(tmp_path / "whole", spec)
    assert failed(cache, spec) == failed(tmp_path / "whole", spec)


def test_a_disk_that_is_full_does_not_hide_the_interruption(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(side: Side, encoded: Any) -> bool:
        raise OSError("disk is full")

    monkeypatch.setattr(Side, "_write", fail)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "c", Mixing("image", at=4, deed=interrupt))
    assert is_in_order(tmp_path / "c")


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from featcache.files import publish
from tests.featcache.extraction.encoding.test_interrupted import Mixing, interrupt, run
fsync = os.fsync
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def arm():
    n = 0
    def count(descriptor):
        nonlocal n
        n += 1
        (die if n == int(sys.argv[5]) else fsync)(descriptor)
    os.fsync = count
    interrupt()
run(Path(sys.argv[3]), Path(sys.argv[4]), Mixing("image", at=7, deed=arm))
"""


@pytest.mark.slow
def test_a_kill_while_an_interrupted_unit_is_published_leaves_a_sound_cache(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole", Mixing("image"))
    sizes = []
    for n in range(1, 12):
        cache = tmp_path / f"c{n}"
        words = [str(word) for word in (TESTS, TESTS.parent, data, cache, n)]
        done = subprocess.run([sys.executable, "-c", KILLED, *words], env=dict(os.environ), check=False)
        if done.returncode != -signal.SIGKILL:
            break
        assert verify(make_cache(cache), deep=True).is_sound
        sizes.append(len(vectors(cache, Mixing("image"))))
        run(data, cache, Mixing("image"))
        assert vectors(cache, Mixing("image")) == vectors(tmp_path / "whole", Mixing("image"))
    assert sizes[0] == 0 and sizes[-1] > 0
