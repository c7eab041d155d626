"""A card works on a stream of its own: it waits for no forward, and what it made is complete on every stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.dataset.sample import ImageFile
from featcache.encoders.vision import ImageSpec
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane
from featcache.extraction.preparing.card_loading import Loaded
from featcache.extraction.preparing.recipe import Reading, Recipe
from featcache.pictures.jpeg_kind import JpegHeader, read_jpeg_header
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.views import parse_view

from cards import FakeCardDecoder

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use"),
]

WAY = Preprocessor(resize=32, crop=(32, 32))


class Spec(ImageSpec):
    """An encoder of which there is but what it does to pictures."""

    def __init__(self) -> None:
        object.__setattr__(self, "preprocessor", WAY)


class DeviceDecoder(FakeCardDecoder):
    """Decodes by Pillow, and brings the pictures to the device."""

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[torch.Tensor | None]:
        found = super().decode(files, headers)
        return [None if each is None else each.to("cuda") for each in found]


class SlowDecoder(FakeCardDecoder):
    """Decodes by Pillow, and is slow to bring the pictures to the device; notes on which streams."""

    streams: frozenset[torch.cuda.Stream] = frozenset()

    def decode(self, files: Sequence[bytes | memoryview], headers: Sequence[JpegHeader]) -> list[torch.Tensor | None]:
        self.streams |= {torch.cuda.current_stream()}
        found = [None if each is None else each.pin_memory() for each in super().decode(files, headers)]
        torch.cuda._sleep(1 << 27)
        return [None if each is None else each.to("cuda", non_blocking=True) for each in found]


def draw(folder: Path, n: int) -> tuple[list[tuple[Reading, Loaded]], list[np.ndarray]]:
    """Return pictures as a card is given them, and what is to be made of them."""
    rng, work, expected = np.random.default_rng(0), [], []
    for number in range(n):
        levels = rng.integers(0, 256, (*rng.integers(30, 90, 2), 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(levels).save(path)
        data = path.read_bytes()
        header = read_jpeg_header(data)
        assert header is not None
        reading = Reading(0, number, ImageFile(str(path)), hashlib.sha256(data).digest(), (0,), 1000)
        work.append((reading, Loaded(data, header, None, 0.0)))
        expected.append(WAY.pixels(Image.open(path).convert("RGB")))
    return work, expected


def test_what_a_card_prepared_is_complete_on_every_stream_and_waited_for_no_forward(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
    from featcache.pictures.card.resizing import CardResizer

    work, expected = draw(tmp_path, 16)
    own, other, decoder = torch.cuda.Stream(), torch.cuda.Stream(), SlowDecoder()
    recipe = Recipe(((parse_view("clean"), Spec()),))
    card = Card(recipe, CardLane(decoder, {0: CardResizer(WAY, torch.device("cuda"))}, stream=own))
    warm = [card.prepare(work) for _ in range(3)]  # kernels are compiled, and memory is there
    del warm
    torch.cuda.synchronize()
    torch.cuda._sleep(1 << 32)  # a forward
    forward = torch.cuda.Event()
    forward.record()
    for _ in range(2):
        found = card.prepare(work)
        with torch.cuda.stream(other):
            for prepared, pixels in zip(found, expected, strict=True):
                assert prepared is not None and isinstance(prepared.inputs[0], torch.Tensor)
                np.testing.assert_array_equal(prepared.inputs[0].cpu(), pixels)
    assert not forward.query() and decoder.streams == {own}


def test_two_lanes_at_once_make_what_pillow_makes(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
    from featcache.pictures.card.resizing import CardResizer

    work, expected = draw(tmp_path, 64)
    recipe = Recipe(((parse_view("clean"), Spec()),))
    device = torch.device("cuda")
    lanes = [CardLane(DeviceDecoder(), {0: CardResizer(WAY, device)}, stream=torch.cuda.Stream()) for _ in range(2)]
    card = Card(recipe, *lanes)
    windows = [work[i : i + 4] for i in range(0, len(work), 4)]
    for _ in range(5):
        with ThreadPoolExecutor(2) as threads:
            halves = [threads.submit(lambda lane: [card.prepare(w, lane) for w in windows[lane::2]], i) for i in (0, 1)]
        made = [half.result() for half in halves]
        found = [prepared for pair in zip(*made, strict=True) for window in pair for prepared in window]
        for prepared, pixels in zip(found, expected, strict=True):
            assert prepared is not None
            np.testing.assert_array_equal(card.fetch(prepared)[0], pixels)
