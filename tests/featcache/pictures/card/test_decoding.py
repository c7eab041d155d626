"""What is made of planes has Pillow's pixels: by a GPU, and where Triton interprets, of planes that the tests make."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.pictures.jpeg_kind import JpegHeader, read_jpeg_header
from featcache.pictures.nvjpeg_library import find_nvjpeg
from featcache.pictures.preprocess import Preprocessor

from cards import FakePlaneEngine

pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")

RESTARTS = ({}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"optimize": True})
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=[pytest.mark.cuda, NEEDS_GPU])]
SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0", None]


def open_decoder(device: str) -> object:
    """Open the engine of a GPU, or what stands in for it."""
    from featcache.pictures.card.decoding import CardDecoder

    if device == "cpu":
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("needs TRITON_INTERPRET=1")
        return CardDecoder(FakePlaneEngine(), torch.device("cpu"))
    from featcache.pictures.card.nvjpeg import Nvjpeg

    library = find_nvjpeg()
    if library is None:
        pytest.skip("needs the extra gpu")
    return CardDecoder(Nvjpeg(library), torch.device("cuda"))


def draw(sampling: str | None, quality: int, *, most: int) -> list[bytes]:
    rng, found = np.random.default_rng(quality), []
    sizes = [(1, 1), (2, 9), (3, 3), (4, 7), (5, 4), (9, 2), (16, 16), (17, 33), (130, 67), (501, 379)]
    for number, size in enumerate(size for size in sizes if max(size) <= most):
        small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        levels = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (levels + rng.integers(-30, 31, levels.shape)).clip(0, 255).astype(np.uint8)
        image, own = Image.fromarray(noisy), {"subsampling": sampling} if sampling else {}
        for restarts in RESTARTS if most > 100 else RESTARTS[number % len(RESTARTS) :][:1]:
            file = io.BytesIO()
            (image if sampling else image.convert("L")).save(file, "JPEG", quality=quality, **own, **restarts)
            found.append(file.getvalue())
    return found


def headers_of(files: list[bytes]) -> list[JpegHeader]:
    return [header for data in files if (header := read_jpeg_header(data)) is not None]


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_pixels_are_pillows_of_every_layout_quality_and_size(device: str, sampling: str | None) -> None:
    decoder = open_decoder(device)
    files = [data for quality in (1, 75, 100) for data in draw(sampling, quality, most=17 if device == "cpu" else 501)]
    headers = headers_of(files)
    assert all(decoder.takes(header.kind) for header in headers)
    for data, picture in zip(files, decoder.decode(files, headers), strict=True):
        assert picture is not None
        np.testing.assert_array_equal(picture.cpu().numpy(), by_pillow(data))


@pytest.mark.cuda
@NEEDS_GPU
def test_what_a_gpu_decodes_and_resizes_is_what_pillow_makes() -> None:
    from featcache.pictures.card.resizing import CardResizer

    decoder, device = open_decoder("cuda"), torch.device("cuda")
    for way in (
        Preprocessor(resize=32, crop=(32, 32)),
        Preprocessor(resize=(224, 200), filter=Image.Resampling.LANCZOS),
    ):
        files = draw("4:2:0", 90, most=501)
        found = CardResizer(way, device).resize(decoder.decode(files, headers_of(files)))
        expected = [way.pixels(Image.fromarray(by_pillow(data))) for data in files]
        np.testing.assert_array_equal(found.cpu().numpy(), np.stack(expected))


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_no_picture_is_refused_and_the_rest_is_decoded(device: str) -> None:
    decoder, files = open_decoder(device), draw("4:2:0", 75, most=17)[-2:]
    headers = headers_of(files)
    first, second, third = decoder.decode([files[0], b"no picture", memoryview(files[1])], [*headers[:1], *headers])
    assert second is None
    for data, picture in zip(files, (first, third), strict=True):
        np.testing.assert_array_equal(picture.cpu().numpy(), by_pillow(data))
    assert decoder.decode([], []) == []
