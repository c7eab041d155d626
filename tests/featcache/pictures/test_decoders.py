"""Decoders beside Pillow: every bit of what simplejpeg makes is Pillow's, and what is not there says what to type."""

from __future__ import annotations

import io
import pickle
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.errors import FeatcacheError, ImageError
from featcache.pictures import decoders
from featcache.pictures.checked_decoder import CheckedDecoder
from featcache.pictures.decode import decode_rgb
from featcache.pictures.decoders import SimpleJpeg, find_decoder
from featcache.pictures.jpeg_kind import JpegKind, read_jpeg_header

SIZES = ((1, 1), (7, 5), (16, 16), (17, 33), (130, 67), (64, 129))
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "grey")


@pytest.fixture(scope="module")
def simplejpeg() -> Any:
    return pytest.importorskip("simplejpeg", reason="the fast decoder needs the extra fast")


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Smooth colours with noise: of neither alone are all coefficients that a JPEG can have."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8))


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def write(simplejpeg: Any, size: tuple[int, int], sampling: str, quality: int) -> bytes:
    pixels = np.asarray(picture(size, quality))
    if sampling == "grey":
        return by_pillow(picture(size, quality).convert("L"), quality=quality)
    written: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", sampling.replace(":", ""))
    return written


def check_same(data: bytes, kind: JpegKind | None = None) -> None:
    header = read_jpeg_header(data)
    assert header is not None and SimpleJpeg().takes(header.kind) and kind in (None, header.kind)
    made = SimpleJpeg().decode(data)
    assert made is not None
    np.testing.assert_array_equal(made[..., :3], np.asarray(decode_rgb(data)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_simplejpeg_makes_pillows_pixels_of_every_layout_quality_and_size(simplejpeg: Any, sampling: str) -> None:
    is_grey = sampling == "grey"
    kind = JpegKind("baseline", "grey" if is_grey else "YCbCr", "" if is_grey else sampling)
    for size in SIZES:
        for quality in (1, 30, 75, 95, 100):
            check_same(write(simplejpeg, size, sampling, quality), kind)


@pytest.mark.parametrize("options", [{"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"optimize": True}])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", None])
def test_simplejpeg_makes_pillows_pixels_with_restarts_and_own_tables(
    simplejpeg: Any, sampling: str | None, options: dict[str, Any]
) -> None:
    for size in SIZES:
        image = picture(size).convert("L") if sampling is None else picture(size)
        check_same(by_pillow(image, **options, **({"subsampling": sampling} if sampling else {})))


def test_a_picture_with_more_behind_its_end_is_still_the_same(simplejpeg: Any) -> None:
    check_same(by_pillow(picture((40, 30))) + b"motion photo" + by_pillow(picture((8, 8))))


OTHERS = {
    "progressive": partial(by_pillow, picture((40, 30)), progressive=True),
    "RGB": partial(by_pillow, picture((40, 30)), keep_rgb=True),
    "CMYK": partial(by_pillow, picture((40, 30)).convert("CMYK")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_simplejpeg_leaves_other_kinds_alone(name: str) -> None:
    header = read_jpeg_header(OTHERS[name]())
    assert header is not None and not SimpleJpeg().takes(header.kind)


@settings(max_examples=80)
@given(data=st.data())
def test_damaged_pictures_are_what_pillow_makes_of_them(simplejpeg: Any, data: st.DataObject) -> None:
    whole = by_pillow(picture((48, 40)), **data.draw(st.sampled_from([{}, {"restart_marker_blocks": 2}])))
    damaged = bytearray(whole[: data.draw(st.sampled_from([len(whole), len(whole) - 2, len(whole) // 2]))])
    for at, value in data.draw(st.lists(st.tuples(st.integers(2, len(damaged) - 1), st.integers(0, 255)), max_size=3)):
        damaged[at] = value
    try:
        expected: bytes | str = decode_rgb(bytes(damaged)).tobytes()
    except ImageError as error:
        expected = str(error)
    found = CheckedDecoder(SimpleJpeg()).decode(bytes(damaged), is_sample=True)
    assert found.way.doubt is None
    assert expected == (str(found.picture) if isinstance(found.picture, ImageError) else found.picture.tobytes())


def test_a_decoder_travels_to_other_processes_and_tells_its_version(simplejpeg: Any) -> None:
    assert pickle.loads(pickle.dumps(SimpleJpeg())) == SimpleJpeg() == find_decoder("auto")
    assert SimpleJpeg().version == simplejpeg.__version__


def test_without_a_faster_decoder_pillow_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert find_decoder("auto") is None and find_decoder("pillow") is None


@pytest.mark.parametrize(
    ("triton", "lacking"), [(None, "Triton: pip install triton"), ("there", "an NVIDIA GPU, torch finds none")]
)
def test_a_gpu_that_is_not_there_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, triton: str | None, lacking: str
) -> None:
    monkeypatch.setattr(decoders, "find_spec", lambda _: triton)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FeatcacheError, match=f"--decoder card needs {lacking}.*--decoder auto"):
        find_decoder("card")
