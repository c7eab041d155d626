"""Whole extractions with a GPU, made up: shards are those of Pillow alone, whatever the card does."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from card_runs import pictures, rows_of, run, versions_of, versions_of_one
from numpy.typing import NDArray
from PIL import Image

from featcache.dataset.manifest import Manifest
from featcache.errors import FeatcacheError
from featcache.extraction.options import ExtractOptions
from featcache.extraction.planning import checks
from featcache.extraction.preparing import find_card
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.find_card import CardMissing
from featcache.extraction.preparing.recipe import Recipe
from featcache.extraction.run import extract
from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegKind
from featcache.pictures.nvjpeg_library import NvjpegError, nvjpeg_advice
from featcache.pictures.views import parse_view

from cards import FakeCardDecoder, FakeCardResizer, FakePerturber
from factories import FakeSpec, make_cache, read_manifest, write_dataset

N = 48


class Beside:
    """A decoder of the CPU that tells the truth."""

    name, version = "beside", "2"

    def takes(self, kind: JpegKind) -> bool:
        return is_plain(kind)

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        try:
            return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        except OSError:
            return None


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    """JPEGs, but for one PNG, a progressive one, and one that is cut short."""
    path = write_dataset(tmp_path / "d", n_captions=N // 3)
    for number, file in enumerate(sorted((tmp_path / "d").glob("*.png"))[1:]):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", progressive=number == 3)
        if number == 20:
            file.write_bytes(file.read_bytes()[:700])
    return read_manifest(path)


def test_shards_are_pillows_and_name_the_card_and_ways_are_counted(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, batches = run(data, tmp_path / "a", None, monkeypatch)
    found, others = run(data, tmp_path / "b", FakeCardDecoder(), monkeypatch)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b") and batches == others
    assert [f.message for s in plain.sides for f in s.failures] == [f.message for s in found.sides for f in s.failures]
    assert versions_of(tmp_path / "a") == [None] * 3 and versions_of(tmp_path / "b") == ["1.0"] * 3
    by_both = {"pillow+scaler: PNG": 1, "pillow+scaler: JPEG progressive 4:2:0": 1}
    expected = {"fake": N - 3, **by_both, "pillow: refused": 1}
    assert pictures(found).ways == expected and not pictures(found).doubts
    assert pictures(found).workers == "the GPU and 2 threads"
    assert pictures(plain).hint == "the GPU does not prepare pictures: none is there" and not pictures(found).hint


@pytest.mark.parametrize("beside", [None, Beside()], ids=["pillow", "beside"])
def test_what_a_lying_card_made_is_done_again_before_it_is_published(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: Beside | None
) -> None:
    expected, _ = run(data, tmp_path / "a", None, monkeypatch)
    liar = FakeCardDecoder(wrong=frozenset(range(12, 1000)))
    found, _ = run(data, tmp_path / "b", liar, monkeypatch, beside=beside)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert [s.n_encoded for s in found.sides] == [s.n_encoded for s in expected.sides]
    (doubt,) = pictures(found).doubts
    reason = "decoder fake 1.0 makes other pixels than Pillow of JPEG baseline 4:2:0"
    assert doubt == f"{reason}: the CPU decodes these again, and all from now on"


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [frozenset(), frozenset(range(12, 1000))], ids=["sound", "lying"])
def test_views_that_the_card_does_not_make_are_the_others_work_of_the_same_pictures(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: frozenset[int]
) -> None:
    views = "clean,jpeg:50,crop:0.5+hflip,rescale:2"
    plain, batches = run(data, tmp_path / "a", None, monkeypatch, views=views)
    found, others = run(data, tmp_path / "b", FakeCardDecoder(wrong=wrong), monkeypatch, views=views)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert pictures(found).n_contents == pictures(plain).n_contents == N
    told = [[f.message for s in each.sides for f in s.failures] for each in (plain, found)]
    assert told[0] == told[1] and len(told[0]) == 4
    if wrong:
        assert pictures(found).doubts
        return
    assert sorted(batches) == sorted(others) and not pictures(found).doubts
    ways = pictures(found).ways
    assert ways["fake"] == N - 3 and ways["pillow"] == N
    by_view = {path.parent.name for path in (tmp_path / "b").glob("features/**/*.h5") if versions_of_one(path)}
    assert by_view == {"clean", "crop:0.5+hflip", "rescale:2"}


def test_a_card_that_fails_half_way_is_given_up_in_one_line(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "a", None, monkeypatch)
    broken = FakeCardDecoder(error=RuntimeError("an illegal memory access"), fails_from=15)
    found, _ = run(data, tmp_path / "b", broken, monkeypatch)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    (doubt,) = pictures(found).doubts
    reason = "decoder fake 1.0 failed 3 times, at last with RuntimeError: an illegal memory access"
    assert doubt == f"{reason}: the CPU decodes all from now on"
    assert pictures(found).ways["fake"] >= 15 and pictures(found).ways["pillow: not trusted"] > 15


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("the driver\nis too old"), "RuntimeError: the driver is too old"),
        (ModuleNotFoundError("No module named 'triton'"), "ModuleNotFoundError: No module named 'triton'"),
    ],
)
def test_why_there_is_no_card_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def fail(*_: object) -> Card:
        raise error

    monkeypatch.setattr(find_card, "check_card", lambda *_: None)
    monkeypatch.setattr(find_card, "_open_card", fail)
    with pytest.raises(CardMissing) as caught:
        find_card.find_card(Recipe(()), ExtractOptions(device="cuda"))
    assert caught.value.hint == f"the GPU does not prepare pictures: {reason}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("library", "error", "reason"),
    [
        (None, None, "nvJPEG is not installed, or cannot be loaded; if this GPU has an engine for JPEGs"),
        ("lib", NvjpegError("open", 7), ""),
        ("lib", NvjpegError("open", 5), "nvJPEG: open: allocator failure"),
        ("lib", RuntimeError("the driver\nis too old"), "RuntimeError: the driver is too old"),
        ("lib", "its engine takes no plain JPEG", "its engine takes no plain JPEG"),
    ],
)
def test_what_an_engine_lacks_is_told_but_not_of_a_gpu_that_has_none(
    monkeypatch: pytest.MonkeyPatch, library: str | None, error: Exception | str | None, reason: str
) -> None:
    def open_engine(*_: object) -> FakeCardDecoder:
        if isinstance(error, Exception):
            raise error
        return FakeCardDecoder(refused=frozenset({0}))

    for name, module in (("decoding", "CardDecoder"), ("nvjpeg", "Nvjpeg")):
        fake = SimpleNamespace(**{module: open_engine if name == "decoding" else str})
        monkeypatch.setitem(sys.modules, f"featcache.pictures.card.{name}", fake)
    monkeypatch.setattr(find_card, "find_nvjpeg", lambda: library)
    decoder, hint = find_card._find_engine(torch.device("cpu"))
    assert decoder is None
    assert hint.startswith(f"the GPU resizes pictures that the CPU decodes: {reason}") if reason else not hint
    assert hint.endswith(nvjpeg_advice()) or library


def test_an_engine_that_makes_pillows_pixels_is_taken_and_one_that_does_not_is_not() -> None:
    assert find_card._try_engine(FakeCardDecoder()) == ""
    assert find_card._try_engine(FakeCardDecoder(wrong=frozenset({0}))) == "the pixels of its engine are not Pillow's"


@pytest.mark.parametrize("decoder", [None, FakeCardDecoder()], ids=["no engine", "engine"])
def test_a_card_is_tried_with_what_it_is_for(decoder: FakeCardDecoder | None) -> None:
    spec = FakeSpec("image")
    recipe = Recipe(tuple((parse_view(view), spec) for view in ("clean", "hflip")))
    sound = {i: FakeCardResizer(spec.prepare) for i in range(2)}
    assert find_card._try_out(recipe, CardLane(decoder, sound, FakePerturber())) == ""
    lying = {0: sound[0], 1: FakeCardResizer(spec.prepare, wrong_from=0)}
    told = find_card._try_out(recipe, CardLane(decoder, lying, FakePerturber()))
    assert told == "its resized pixels are not Pillow's under the view hflip"
    assert find_card._try_out(recipe, CardLane(decoder)) == "no encoder resizes as Pillow does"


LIAR = CardLane(FakeCardDecoder())


@pytest.mark.parametrize(
    ("second", "n_lanes"),
    [
        (CardLane(FakeCardDecoder()), 2),
        (CardLane(None), 1),
        (RuntimeError("CUDA out of memory"), 1),
    ],
    ids=["two", "an engine for one", "memory for one"],
)
def test_a_card_has_as_many_lanes_as_can_be_opened(
    monkeypatch: pytest.MonkeyPatch, second: CardLane | Exception, n_lanes: int
) -> None:
    opened = [CardLane(FakeCardDecoder()), second]

    def open_lane() -> tuple[CardLane, str]:
        lane = opened.pop(0)
        if isinstance(lane, Exception):
            raise lane
        return lane, "told"

    monkeypatch.setattr(find_card, "_try_out", lambda _, lane: "unequal" if lane is LIAR else "")
    card = find_card._open_lanes(Recipe(()), open_lane)
    assert len(card.lanes) == n_lanes and card.hint == "told" and not opened
    opened[:] = [second if isinstance(second, CardLane) else CardLane(None), LIAR]
    with pytest.raises(CardMissing, match="unequal"):
        find_card._open_lanes(Recipe(()), open_lane)


def test_an_interruption_leaves_nobody(data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        if decoder.n_seen:
            raise KeyboardInterrupt

    before, decoder = threading.active_count(), FakeCardDecoder()
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "b", decoder, monkeypatch, progress=interrupt)
    for thread in threading.enumerate():
        if thread.name.startswith("prepare"):  # told to end, not waited for
            thread.join(10)
    assert decoder.n_seen and threading.active_count() == before


@pytest.mark.parametrize(
    ("device", "views", "message"),
    [
        ("cpu", "clean", "the device is no GPU; run with --device cuda"),
        (
            "cuda",
            "jpeg:50,hflip+jpeg:50",
            "nothing is asked for that a GPU makes: pictures at full size, for an encoder, under views but JPEG; "
            "use --decoder auto",
        ),
    ],
)
def test_a_card_that_has_nothing_to_do_is_refused_before_anything_is_hashed(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Any, views: str, message: str
) -> None:
    monkeypatch.setattr(checks, "find_decoder", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options = ExtractOptions(device=device, decoder="card")
    with pytest.raises(FeatcacheError) as caught:
        extract(data, make_cache(tmp_path / "c"), [FakeSpec("image")], views=views, options=options)
    assert str(caught.value) == f"--decoder card: {message}"
    assert not (tmp_path / "c" / "datasets").exists()
