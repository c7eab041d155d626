"""Pixels of every mode become the RGB that Pillow makes of the whole picture at once, in little memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.pictures.compositing import to_rgb
from featcache.pictures.decode import decode_rgb
from featcache.pictures.strips import WHOLE_PIXELS

from factories import cut_strips, run_python

SIZES = [(1, 1), (1, 97), (97, 1), (37, 41), (64, 63)]


def draw(mode: str, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A picture of random bytes."""
    rng = np.random.default_rng(seed)
    width, height = size
    if mode in ("I;16", "I;16B", "I"):
        dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
        levels = rng.integers(0, 70_000 if mode == "I" else 65_536, (height, width)).astype(dtype)
        return Image.frombytes(mode, size, levels.tobytes())
    if mode == "1":
        return Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)).convert("1")
    bands = len(Image.new(mode, (1, 1)).getbands())
    image = Image.frombytes(mode, size, rng.bytes(width * height * bands))
    if mode in ("P", "PA"):
        image.putpalette(rng.bytes(768))
    return image


def at_once(image: Image.Image) -> Image.Image:
    """The rule, applied to the whole picture."""
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


TRANSPARENT: dict[str, tuple[str, Any]] = {
    "RGBA": ("RGBA", None),
    "LA": ("LA", None),
    "PA": ("PA", None),
    "RGBa": ("RGBa", None),
    "a palette with a transparent index": ("P", 7),
    "a palette with alpha": ("P", bytes(range(255, 55, -1))),
    "a transparent level": ("L", 100),
    "a transparent colour": ("RGB", (1, 2, 3)),
    "a transparent bit": ("1", 255),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TRANSPARENT)
def test_strips_are_composited_as_the_whole_picture_is(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, transparency = TRANSPARENT[name]
    image = draw(mode, size)
    if mode == "RGB":
        image.paste((1, 2, 3), (0, 0, size[0] // 2, size[1] // 2))
    if transparency is not None:
        image.info["transparency"] = transparency
    expected = at_once(image.copy())
    for n_pixels in (1, 5 * size[0], 1 << 20):
        cut_strips(monkeypatch, n_pixels)
        made = to_rgb(image, "PNG")
        assert (made.mode, made.size) == ("RGB", size) and made.tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
@pytest.mark.parametrize("transparent", [None, 300])
def test_deep_grey_is_rounded_in_strips(
    mode: str, size: tuple[int, int], transparent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw(mode, size)
    image.putpixel((0, 0), 300)
    if transparent is not None:
        image.info["transparency"] = transparent
    levels = np.asarray(image).astype(np.int64).clip(0, 65_535)
    expected = (levels + 128) // 257
    expected[levels == transparent] = 255
    for n_pixels in (1, 5 * size[0], 1 << 20):
        cut_strips(monkeypatch, n_pixels)
        assert np.array_equal(np.asarray(to_rgb(image, "PNG")), expected[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"])
def test_what_has_no_transparency_is_converted_by_pillow(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_strips(monkeypatch, 1)
    image = draw(mode, (37, 41))
    assert to_rgb(image, "TIFF").tobytes() == image.convert("RGB").tobytes()


FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{mode}.png": (mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    "transparent index.png": ("P", "PNG", {"transparency": 7}),
    "alpha palette.png": ("P", "PNG", {"transparency": bytes(range(255, 55, -1))}),
    "transparent level.png": ("L", "PNG", {"transparency": 100}),
    "transparent colour.png": ("RGB", "PNG", {"transparency": (1, 2, 3)}),
    "transparent bit.png": ("1", "PNG", {"transparency": 1}),
    "transparent index.gif": ("P", "GIF", {"transparency": 7}),
    **{f"{mode}.tif": (mode, "TIFF", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "I;16")},
    "CMYK.jpg": ("CMYK", "JPEG", {"quality": 95}),
    "L.jpg": ("L", "JPEG", {}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_decodes_to_the_pixels_of_its_whole_picture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, format, options = FILES[name]
    buffer = io.BytesIO()
    draw(mode, (61, 53)).save(buffer, format, **options)
    cut_strips(monkeypatch, 300)
    made = decode_rgb(buffer.getvalue())
    with Image.open(buffer) as stored:
        if mode == "I;16":
            expected = Image.fromarray(((np.asarray(stored).astype(np.int64) + 128) // 257).astype(np.uint8))
        else:
            expected = at_once(stored) if stored.has_transparency_data else stored
        assert made.tobytes() == expected.convert("RGB").tobytes()
    assert type(made) is Image.Image and not made.info


PEAK = """
import sys
from factories import peak_bytes
from featcache.pictures.decode import decode_rgb
data = open(sys.argv[1], "rb").read()
before = peak_bytes()
picture = decode_rgb(data)
print((peak_bytes() - before) / (picture.width * picture.height))
"""
SOURCE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "RGB": 0, "LA": 4, "RGBA": 4}
"""A pixel in Pillow's own storage; RGB is the result itself."""
TURN = Image.Exif()
TURN[0x0112] = 6


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("P", {"transparency": bytes([255, 0, 51, 200])}),
        ("RGBA", {}),
        pytest.param("RGB", {}, marks=pytest.mark.slow),
        pytest.param("LA", {}, marks=pytest.mark.slow),
        pytest.param("L", {"transparency": 1}, marks=pytest.mark.slow),
        pytest.param("1", {"transparency": 1}, marks=pytest.mark.slow),
        pytest.param("I;16", {}, marks=pytest.mark.slow),
        pytest.param("P", {"transparency": 1, "exif": TURN}, marks=pytest.mark.slow),
        pytest.param("RGB", {"exif": TURN}, marks=pytest.mark.slow),
    ],
)
def test_decoding_takes_the_decoded_source_and_the_result(mode: str, options: dict[str, Any], tmp_path: Path) -> None:
    side = 4000
    Image.new(mode, (side, side - 1)).save(tmp_path / "picture.png", **options)
    taken = float(run_python(PEAK, tmp_path / "picture.png"))
    # What is turned exists twice in RGB, but its source is gone by then.
    expected = 8 if "exif" in options else 4 + SOURCE_BYTES[mode]
    assert taken < expected + 20 * WHOLE_PIXELS / side**2
