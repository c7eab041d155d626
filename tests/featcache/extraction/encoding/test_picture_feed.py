"""A decoder that lies, fails or dies costs time, and nothing else: vectors are those of Pillow alone, in every bit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featcache.dataset.manifest import Manifest
from featcache.extraction import work
from featcache.extraction.encoding import job
from featcache.extraction.encoding.picture_feed import choose_sample
from featcache.extraction.planning.plan import WorkUnit
from featcache.extraction.results import Event, PassResult
from featcache.extraction.run import ExtractOptions, ExtractResult, extract
from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegKind

from factories import FakeSpec, children, make_cache, read_manifest, write_dataset

N = 30
SMALL: dict[str, Any] = {"device": "cpu", "batch_size": 4, "workers": 2, "unit_rows": 15}
VIEWS = "clean,hflip"


def stored(data: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


@dataclass(frozen=True)
class Fake:
    """A decoder that makes Pillow's pixels, but for some files (by sha256), and may be imported in a worker."""

    bad: frozenset[bytes] = frozenset()
    name: str = "fake"
    version: str = "7"

    def takes(self, kind: JpegKind) -> bool:
        return is_plain(kind)

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        try:
            pixels = stored(data)
        except OSError:
            return None
        return self.spoil(pixels) if hashlib.sha256(data).digest() in self.bad else pixels

    def spoil(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        return None


class Lying(Fake):
    def spoil(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        pixels[0, 0, 0] ^= 1
        return pixels


class Failing(Fake):
    def spoil(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        raise RuntimeError("out of luck")


class Dying(Fake):
    def spoil(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
        return None


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    """Thirty JPEGs, but for one PNG, a progressive one, and one that is cut short."""
    path = write_dataset(tmp_path / "d", n_captions=N // 3)
    for number, file in enumerate(sorted((tmp_path / "d").glob("*.png"))[1:]):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", progressive=number == 3)
        if number == 20:
            file.write_bytes(file.read_bytes()[:700])
    return read_manifest(path)


def digests(data: Manifest, rows: range) -> frozenset[bytes]:
    images = [sample.image for sample in data.samples][rows.start : rows.stop]
    return frozenset(hashlib.sha256(image.read_bytes()).digest() for image in images if image)


def run(
    data: Manifest, cache: Path, decoder: Fake | None, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[ExtractResult, list[int], list[Event]]:
    """Extract; returns the result, sizes of the batches that were encoded, and what happened."""
    monkeypatch.setattr(work, "find_decoder", lambda _: decoder)
    spec, events = FakeSpec("image"), list[Event]()
    options = ExtractOptions(**SMALL | settings)
    result = extract(data, make_cache(cache), [spec], views=VIEWS, options=options, events=events.append)
    return result, spec.log, events


def rows_of(cache: Path) -> dict[str, list[bytes]]:
    """All that shards hold, but for their attributes."""
    found = {}
    for path in sorted(cache.glob("features/**/*.h5")):
        with h5py.File(path) as shard:
            found[str(path.relative_to(cache))] = [shard["key"][:].tobytes(), shard["features/pooled"][:].tobytes()]
    return found


def vectors_of(cache: Path) -> dict[tuple[str, bytes], bytes]:
    """Vectors by view and key, in whatever shards they are."""
    found = {}
    for path in sorted(cache.glob("features/**/*.h5")):
        with h5py.File(path) as shard:
            for key, vector in zip(shard["key"][:], shard["features/pooled"][:], strict=True):
                found[path.parent.name, key.tobytes()] = vector.tobytes()
    return found


def versions_of(cache: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted(cache.glob("features/*/clean/*.h5")):
        with h5py.File(path) as shard:
            found.append(json.loads(shard.attrs["versions"]))
    return found


def pictures(result: ExtractResult) -> PassResult:
    (found,) = (each for each in result.passes if each.content == "image")
    return found


def test_pictures_of_another_decoder_are_counted_and_its_shards_name_it(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _, _ = run(data, tmp_path / "a", None, monkeypatch)
    fast, _, events = run(data, tmp_path / "b", Fake(), monkeypatch)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert [f.message for s in plain.sides for f in s.failures] == [f.message for s in fast.sides for f in s.failures]
    assert pictures(plain).ways == {"pillow": N} and pictures(plain).doubts == ()
    fake = {"fake": N - 3, "pillow: PNG": 1, "pillow: JPEG progressive 4:2:0": 1, "pillow: refused": 1}
    assert pictures(fast).ways == fake
    assert [each.get("fake") for each in versions_of(tmp_path / "a") + versions_of(tmp_path / "b")] == [None] * 2 + [
        "7"
    ] * 2
    assert pictures(fast).busy["check"] > 0 and not any(e.name == "doubt" and "other" in str(e.fields) for e in events)


@pytest.mark.parametrize("kind", [Lying, Failing])
@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_a_lying_or_failing_decoder_did_is_done_again_by_pillow(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Fake], processes: bool
) -> None:
    expected, batches, _ = run(data, tmp_path / "a", None, monkeypatch)
    bad = kind(digests(data, range(8, 15)))
    found, others, events = run(data, tmp_path / "b", bad, monkeypatch, processes=processes)
    assert rows_of(tmp_path / "b") == rows_of(tmp_path / "a")
    assert [s.n_encoded for s in found.sides] == [s.n_encoded for s in expected.sides] == [N - 1] * 2
    assert [len(s.failures) for s in found.sides] == [1, 1] and found.n_failed_contents == 1
    assert (pictures(found).n_contents, pictures(found).n_rows) == (N, pictures(expected).n_rows)
    (doubt,) = pictures(found).doubts
    what = "makes other pixels" if kind is Lying else "failed with RuntimeError"
    assert doubt.startswith(f"decoder fake 7 {what}") and doubt.count("\n") == 0
    assert [event.fields["message"] for event in events if event.name == "doubt"] == [doubt]
    assert Counter(batches) <= Counter(others) and (kind is Lying or Counter(batches) == Counter(others))


def test_what_was_split_off_before_stays_and_the_rest_is_done_again(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _, _ = run(data, tmp_path / "a", None, monkeypatch)
    monkeypatch.setattr(job, "SPLIT_SECONDS", 0.0)
    found, _, _ = run(data, tmp_path / "b", Lying(digests(data, range(8, 15))), monkeypatch)
    assert vectors_of(tmp_path / "a") == vectors_of(tmp_path / "b") and len(vectors_of(tmp_path / "a")) == 2 * N - 2
    assert [s.n_encoded for s in found.sides] == [N - 1] * 2 and len(pictures(found).doubts) == 1
    assert pictures(found).n_rows == pictures(expected).n_rows
    versions = [each.get("fake") for each in versions_of(tmp_path / "b")]
    assert set(versions) == {"7", None} and len(versions) > 4


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes")
def test_a_decoder_that_ends_its_worker_is_given_up(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    run(data, tmp_path / "a", None, monkeypatch)
    dying = Dying(digests(data, range(5, 25)))
    found, _, _ = run(data, tmp_path / "b", dying, monkeypatch, processes=True)
    assert rows_of(tmp_path / "b") == rows_of(tmp_path / "a") and children() == before
    (doubt,) = pictures(found).doubts
    assert "was at work when worker process" in doubt and doubt.endswith(": Pillow decodes all from now on")
    assert found.n_failed_contents == 1


def test_a_sample_is_of_the_unit_and_the_same_in_every_run_and_has_the_first_of_each() -> None:
    rows = np.arange(100, 5000)
    all_of, late = WorkUnit(0, "0f" * 16, rows, ("cls",)), WorkUnit(0, "0d" * 16, rows[50:], ("cls",))
    found = choose_sample([all_of])
    assert found == choose_sample([all_of]) <= set(rows) and 100 in found
    for n, most in ((1, 1), (8, 8), (100, 8), (4096, 64)):
        assert len(choose_sample([replace(all_of, contents=rows[:n])]) - {100}) in (most - 1, most)
    assert choose_sample([all_of, late]) == found | {150}
    assert choose_sample([replace(all_of, name="0e" * 16)]) != found
