"""What nvImageCodec decodes has Pillow's pixels: by its CPU backend everywhere, by the engine of a GPU where one is."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.pictures.card.codec import find_codec
from featcache.pictures.card.decoding import CardDecoder
from featcache.pictures.card.stderr import keep_stderr
from featcache.pictures.jpeg_kind import read_jpeg_header
from featcache.pictures.preprocess import Preprocessor

SIZES = ((1, 1), (7, 5), (16, 16), (17, 33), (130, 67), (501, 379))
RESTARTS = ({}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"optimize": True})
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, NEEDS_GPU])]


def open_decoder(device: str) -> CardDecoder:
    with keep_stderr():
        codec = find_codec()
        if codec is None:
            pytest.skip("nvImageCodec needs the extra gpu")
        return CardDecoder(codec, torch.device(device), n_threads=2)


def draw(sampling: str | None, quality: int) -> list[bytes]:
    rng, found = np.random.default_rng(quality), []
    for size in SIZES:
        for restarts in RESTARTS:
            small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
            image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
            file = io.BytesIO()
            own = {**restarts, "subsampling": sampling} if sampling else restarts
            (image if sampling else image.convert("L")).save(file, "JPEG", quality=quality, **own)
            found.append(file.getvalue())
    return found


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", None])
def test_pixels_are_pillows_of_every_layout_quality_and_size(device: str, sampling: str | None) -> None:
    decoder = open_decoder(device)
    for quality in (1, 75, 100):
        files = draw(sampling, quality)
        headers = [read_jpeg_header(data) for data in files]
        assert all(header is not None and decoder.takes(header.kind) for header in headers)
        found = decoder.decode(files)
        assert sum(each is not None for each in found) > len(files) // 2
        for data, picture in zip(files, found, strict=True):
            if picture is not None:
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
        files = draw("4:2:0", 90)
        decoded = [(data, each) for data, each in zip(files, decoder.decode(files), strict=True) if each is not None]
        found = CardResizer(way, device).resize([each for _, each in decoded])
        expected = [way.pixels(Image.fromarray(by_pillow(data))) for data, _ in decoded]
        np.testing.assert_array_equal(found.cpu().numpy(), np.stack(expected))


def test_what_is_no_picture_is_refused_and_the_rest_is_decoded() -> None:
    decoder = open_decoder("cpu")
    files = draw("4:2:0", 75)[-2:]
    found = decoder.decode([files[0], b"no picture", files[1]])
    assert found[1] is None and found[0] is not None and found[2] is not None
