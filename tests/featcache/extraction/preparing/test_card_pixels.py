"""A GPU without an engine, made up, resizes what the CPU decodes: stores are those of Pillow alone in every bit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from card_runs import pictures, rows_of, run, versions_of
from PIL import Image

from featcache.dataset.manifest import Manifest
from featcache.extraction import options as extract_options
from featcache.extraction.encoding import picture_feed
from featcache.extraction.preparing.crew import Worker
from featcache.extraction.preparing.loaders import Load, Loaders
from featcache.extraction.preparing.recipe import STEPS, Reading
from featcache.extraction.results import Progress

from cards import FakeCardDecoder
from factories import children, read_manifest, write_dataset

N = 24


def saved(picture: Image.Image, format: str, **how: Any) -> bytes:
    file = BytesIO()
    picture.save(file, format, **how)
    return file.getvalue()


def turned(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture, "JPEG", exif=exif)


def animated(picture: Image.Image, format: str) -> bytes:
    return saved(picture, format, save_all=True, append_images=[picture.rotate(180)])


KINDS: Mapping[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda picture: saved(picture, "JPEG"),
    "progressive": lambda picture: saved(picture, "JPEG", progressive=True),
    "CMYK": lambda picture: saved(picture.convert("CMYK"), "JPEG"),
    "grey JPEG": lambda picture: saved(picture.convert("L"), "JPEG"),
    "turned": turned,
    "PNG": lambda picture: saved(picture, "PNG"),
    "alpha": lambda picture: saved(Image.merge("RGBA", [*picture.split(), picture.convert("L")]), "PNG"),
    "palette": lambda picture: saved(picture.quantize(7), "PNG", transparency=3),
    "grey of 16 bits": lambda picture: saved(Image.fromarray(np.asarray(picture, np.uint16)[..., 0] * 255), "PNG"),
    "GIF": lambda picture: animated(picture, "GIF"),
    "WebP": lambda picture: animated(picture, "WEBP"),
    "narrow": lambda picture: saved(picture.resize((303, 3)), "JPEG"),
    "cut JPEG": lambda picture: saved(picture, "JPEG")[:400],
    "cut PNG": lambda picture: saved(picture, "PNG")[:300],
    "none": lambda _: b"no picture",
}
BROKEN = {"cut JPEG", "cut PNG"}


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    """One of each kind, and plain JPEGs."""
    path = write_dataset(tmp_path / "d", n_captions=N // 3)
    rng, kinds = np.random.default_rng(0), list(KINDS.values())
    for number, file in enumerate(sorted((tmp_path / "d").glob("*.png"))):
        levels = rng.integers(0, 256, (int(rng.integers(9, 40)), int(rng.integers(9, 40)), 3), dtype=np.uint8)
        file.write_bytes((kinds[number] if number < len(kinds) else KINDS["JPEG"])(Image.fromarray(levels)))
    return read_manifest(path)


def check(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: FakeCardDecoder | None, **settings: Any
) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Extract by Pillow and by a card; returns the ways and doubts of this one once everything is the same."""
    resizer = settings.pop("resizer", {})
    plain, batches = run(data, tmp_path / "a", None, monkeypatch, **settings)
    found, others = run(data, tmp_path / "b", decoder, monkeypatch, resizer=resizer, **settings)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    told = [[(f.sample_id, f.message) for side in each.sides for f in side.failures] for each in (plain, found)]
    assert told[0] == told[1] and len(told[0]) >= len(BROKEN)
    if not pictures(found).doubts:
        assert sorted(batches) == sorted(others)
    return pictures(found).ways, pictures(found).doubts


@pytest.mark.parametrize("n_lanes", [1, 2])
def test_a_store_is_pillows_whoever_decodes_for_the_card(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_lanes: int
) -> None:
    ways, doubts = check(data, tmp_path, monkeypatch, None, n_lanes=n_lanes)
    assert not doubts and ways["pillow+scaler"] >= N - 5 and ways["pillow: narrow"] == 1
    assert sum(ways.values()) == N and set(ways) <= {"pillow+scaler", "pillow: narrow", "pillow", "pillow: unknown"}
    assert set(versions_of(tmp_path / "b", "scaler")) == {"2.0"} and not any(versions_of(tmp_path / "b"))


def test_beside_an_engine_the_cpu_decodes_what_that_does_not_take(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, doubts = check(data, tmp_path, monkeypatch, FakeCardDecoder())
    assert not doubts and ways["fake"] >= N - len(KINDS)
    by_both = {way.partition(": ")[2]: n for way, n in ways.items() if way.startswith("pillow+scaler")}
    assert by_both == {
        "JPEG progressive 4:2:0": 1, "JPEG baseline CMYK 1x1,1x1,1x1,1x1": 1, "PNG": 4, "GIF": 1, "WEBP": 1,
    }  # fmt: skip
    assert set(versions_of(tmp_path / "b")) == {"1.0"} and set(versions_of(tmp_path / "b", "scaler")) >= {"2.0"}


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [None, FakeCardDecoder()], ids=["no engine", "engine"])
def test_views_of_what_the_cpu_decodes_are_pillows(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: FakeCardDecoder | None
) -> None:
    ways, doubts = check(data, tmp_path, monkeypatch, decoder, views="clean,jpeg:50,crop:0.5+hflip,rescale:2")
    assert not doubts and sum(n for way, n in ways.items() if way.startswith("pillow+scaler")) >= 8


@pytest.mark.parametrize("wrong_from", [9, pytest.param(0, marks=pytest.mark.slow)])
def test_a_resizer_that_lies_is_caught_before_anything_is_published(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong_from: int
) -> None:
    ways, (doubt,) = check(data, tmp_path, monkeypatch, None, resizer={"wrong_from": wrong_from})
    reason = "resizer scaler 2.0 makes other pixels than Pillow of decoded pictures"
    assert doubt == f"{reason}: the CPU resizes these again, and all from now on"
    assert ways["pillow: not trusted"] >= N // 2


def test_a_resizer_that_lies_about_decoded_pictures_takes_all_of_the_card_with_it(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in range(N):
        kind, picture = "PNG" if row in (0, 1, 20) else "JPEG", Image.new("RGB", (20, 20), (9 * row, 0, 0))
        image = data.samples.image(row)
        assert image is not None
        Path(image.name).write_bytes(KINDS[kind](picture))
    monkeypatch.setattr(picture_feed, "choose_sample", lambda _: frozenset({20}))
    run(data, tmp_path / "a", None, monkeypatch)
    found, _ = run(data, tmp_path / "b", FakeCardDecoder(), monkeypatch, resizer={"wrong_from": 16})
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert len(pictures(found).doubts) == 1 and "of decoded pictures" in pictures(found).doubts[0]


@pytest.mark.slow
def test_an_engine_that_lies_leaves_the_resizer_its_trust(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, doubts = check(data, tmp_path, monkeypatch, FakeCardDecoder(wrong=frozenset(range(99))), n_lanes=2)
    assert doubts and all("decoder fake 1.0 makes other pixels than Pillow of JPEG baseline" in each for each in doubts)
    assert ways["pillow+scaler: PNG"] >= 4 and "fake" not in ways


@pytest.mark.slow
def test_what_does_not_fit_on_the_card_together_is_done_in_halves(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, doubts = check(data, tmp_path, monkeypatch, None, resizer={"most": 2})
    assert not doubts and ways["pillow+scaler"] >= N - 5


@pytest.mark.slow
def test_a_resizer_that_fails_is_given_up_in_one_line(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, (doubt,) = check(data, tmp_path, monkeypatch, None, resizer={"most": 0})
    reason = "resizer scaler 2.0 failed 3 times, at last with OutOfMemoryError: CUDA out of memory"
    assert doubt == f"{reason}: the CPU resizes all from now on" and "pillow+scaler" not in ways


def test_pictures_that_the_memory_does_not_allow_are_for_the_others(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, doubts = check(data, tmp_path, monkeypatch, None, memory=4 * 48 * 1500)
    assert not doubts and ways["pillow: large"] > 5 and ways["pillow+scaler"] > 5


def test_with_next_to_no_memory_everything_is_prepared_by_the_others(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = run(data, tmp_path / "b", None, monkeypatch, resizer={}, memory=1)
    (side,) = found.sides
    assert side.n_encoded + len(side.failures) == N and side.n_encoded >= N - len(BROKEN) - 1


@pytest.mark.slow
def test_seconds_of_decoding_are_told_whoever_decodes(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = run(data, tmp_path / "b", None, monkeypatch, resizer={})
    busy = pictures(found).busy
    assert set(busy) == set(STEPS) and min(busy["read"], busy["decode"], busy["resize"]) > 0


def test_an_interruption_leaves_nobody(data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "b", None, monkeypatch, resizer={}, progress=interrupt)
    for thread in threading.enumerate():
        if thread.name.startswith("prepare"):  # told to end, not waited for
            thread.join(10)
    assert threading.active_count() == before


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="workers need POSIX pipes")
@pytest.mark.parametrize("n_killed", [0, 1, 2])
def test_processes_decode_for_the_card_whatever_becomes_of_them(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_killed: int
) -> None:
    monkeypatch.setattr(extract_options, "_LEAST_CONTENTS", 1)
    killed: list[Worker] = []

    def start(loaders: Loaders, readings: Sequence[Reading]) -> Load:
        chosen = loaders._crew.workers[: n_killed - len(killed)]
        for worker in chosen:
            os.kill(worker.process.pid, signal.SIGSTOP)
        load = begin(loaders, readings)
        for worker in chosen:
            while not worker.n_tasks:
                time.sleep(0.01)
            os.kill(worker.process.pid, signal.SIGKILL)
            killed.append(worker)
        return load

    begin, before = Loaders.start, children()
    monkeypatch.setattr(Loaders, "start", start)
    ways, doubts = check(data, tmp_path, monkeypatch, None, processes=True)
    assert len(killed) == n_killed and (not n_killed or "killed by SIGKILL" in doubts[0])
    assert sum(ways.values()) == N and (n_killed or ways["pillow+scaler"] >= N - 5)
    assert children() == before
