"""What is told of the memory of a picture holds: measured in processes of their own."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from featcache.cache.file_facts import FORMATS
from featcache.pictures.decode import MAX_PIXELS, ImageInfo, decode_rgb, probe_image
from featcache.pictures.footprint import Footprint
from featcache.pictures.views import VIEW_RULES, View, expand_views, parse_view

from factories import run_python

SIDE = 3000

MEASURE = """
import hashlib, json, sys
from pathlib import Path
from PIL import Image
from factories import peak_bytes
from featcache.pictures.decode import probe_image
from featcache.dataset.sample import ImageFile
from featcache.encoders.spectral.encoder import SpectralSpec
from featcache.extraction.preparing.recipe import Reading, Recipe, prepare
from featcache.pictures.decoders import find_decoder
from featcache.pictures.preprocess import Preprocessor
from featcache.pictures.views import expand_views

class Resize:
    modality = "image"
    def __init__(self, **options):
        self._preprocessor = Preprocessor(**options)
    def prepare(self, source):
        return self._preprocessor.pixels(source)

specs = [SpectralSpec()]
if sys.argv[2] == "torch":
    import torch
    torch.set_num_threads(1)
specs += [
    Resize(resize=224, crop=(224, 224), backend=sys.argv[2]),
    Resize(resize=224, crop=(224, 224), backend=sys.argv[2], square_crop=True),
]
views = expand_views(sys.argv[3])
recipe = Recipe(tuple((view, spec) for view in views for spec in specs), decoder=find_decoder("auto"))
for view in views:
    for spec in specs:
        spec.prepare(view.apply(Image.new("RGB", (300, 300)), bytes(32)))
image = ImageFile(Path(sys.argv[1]))
data = image.read_bytes()
products = tuple(range(len(recipe.products)))
info = probe_image(data)
told = recipe.footprint.n_bytes(info.width * info.height, info.format, len(data))
reading = Reading(0, 0, image, hashlib.sha256(data).digest(), products, told)
del data
before = peak_bytes()
made = prepare(recipe, reading)
taken = peak_bytes() - before
print(json.dumps([len(made.inputs), taken, told]))
"""


def measure(path: Path, views: str = "clean", backend: str = "pillow") -> tuple[int, int]:
    """Bytes that preparing a picture took, and at most takes by what is told."""
    n_inputs, taken, told = json.loads(run_python(MEASURE, path, backend, views))
    assert n_inputs == 3 * len(expand_views(views))
    return taken, told


def draw(mode: str = "RGB", side: int = SIDE) -> Image.Image:
    """Something like a photograph: noise that is smooth, and some that is not."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (side // 100, side // 100, 4), dtype=np.uint8))
    levels = np.asarray(small.resize((side, side - 1), Image.Resampling.BICUBIC)).astype(np.int16)
    levels += rng.integers(-20, 20, (side - 1, side, 1), dtype=np.int16)
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def deep_tiff(side: int) -> bytes:
    """A TIFF of 16-bit RGBA in one compressed strip: libtiff unpacks all of it at once."""
    strip = zlib.compress(bytes(8 * side * side), 1)
    entries = [
        *((256, 4, 1, side), (257, 4, 1, side), (258, 3, 4, 134), (259, 3, 1, 8), (262, 3, 1, 2)),
        *((273, 4, 1, 142), (277, 3, 1, 4), (278, 4, 1, side), (279, 4, 1, len(strip)), (338, 3, 1, 2)),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\x00" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return head + struct.pack("<4H", *[16] * 4) + strip


def save(mode: str, format: str, **options: Any) -> Callable[[], bytes]:
    def encode() -> bytes:
        buffer = io.BytesIO()
        draw(mode).save(buffer, format, **options)
        return buffer.getvalue()

    return encode


def deep_heic() -> bytes:
    """A HEIC of 10-bit RGBA, whose decoder takes the most."""
    from pillow_heif import from_bytes

    levels = np.random.default_rng(0).integers(0, 65536, (SIDE // 50, SIDE // 50, 4), dtype=np.uint16)
    levels = levels.repeat(50, axis=0).repeat(50, axis=1)
    buffer = io.BytesIO()
    from_bytes(mode="RGBA;16", size=(SIDE, SIDE), data=levels.tobytes()).save(buffer, quality=50, chroma=444)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "baseline.jpg": save("RGB", "JPEG"),
    "progressive.jpg": save("RGB", "JPEG", progressive=True, subsampling=0),
    "progressive-cmyk.jpg": save("CMYK", "JPEG", progressive=True),
    "rgb.png": save("RGB", "PNG", compress_level=1),
    "rgba.png": save("RGBA", "PNG", compress_level=1),
    "deep.png": save("I;16", "PNG", compress_level=1),
    "transparent.gif": save("P", "GIF", transparency=3),
    "rgb.bmp": save("RGB", "BMP"),
    "rgba.tif": save("RGBA", "TIFF", compression="tiff_lzw"),
    "deep.tif": lambda: deep_tiff(SIDE),
    "deep.pgm": lambda: b"P5 3000 3000 65535\n" + bytes(2 * SIDE**2),
    "plain.ppm": lambda: b"P3 1500 1500 255\n" + b"1 20 255 " * 1500**2,
    "lossy.webp": save("RGBA", "WEBP", method=0),
    "lossless.webp": save("RGBA", "WEBP", lossless=True, method=0, quality=0),
    "rgb.jp2": save("RGB", "JPEG2000", quality_mode="rates", quality_layers=[20]),
    "rgba.jp2": save("RGBA", "JPEG2000", quality_mode="rates", quality_layers=[20]),
    "rgba.avif": save("RGBA", "AVIF", speed=10, subsampling="4:4:4"),
    "deep.heic": deep_heic,
}
OPTIONAL = {".webp": "webp", ".jp2": "jpg_2000", ".avif": "avif"}
QUICK = ("progressive.jpg", "rgba.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FILES]
)
def test_no_format_takes_more_than_is_told(name: str, tmp_path: Path) -> None:
    feature = OPTIONAL.get(Path(name).suffix)
    if name.endswith(".heic"):
        pytest.importorskip("pillow_heif", reason="pictures of HEIF need the extra heif")
    if feature is not None and not features.check(feature):
        pytest.skip(f"this Pillow has no {feature}")
    (tmp_path / name).write_bytes(FILES[name]())
    taken, told = measure(tmp_path / name)
    assert taken <= told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("views", "backend"),
    [
        *(("clean", "torch"), ("train", "torch"), ("report", "torch"), ("rescale:2", "torch")),
        *(("rescale:1.4+jpeg:95", "torch"), ("hflip+blur:2+noise:0.1", "torch")),
        *(("hflip,jpeg:100,blur:20,crop:0.9", "pillow"), ("rescale:1.5", "pillow")),
    ],
)
def test_no_view_takes_more_than_is_told(views: str, backend: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(FILES["rgb.png"]())
    taken, told = measure(tmp_path / "picture.png", views, backend)
    assert taken <= told


NUMBERS = {"jpeg": ":75", "blur": ":1", "noise": ":0.1", "brightness": ":2", "rescale": ":2", "crop": ":0.5"}


def test_a_view_is_told_of_beside_the_picture_that_it_is_made_of() -> None:
    clean = Footprint.of([View()]).decoded
    told = {kind: Footprint.of([parse_view(kind + NUMBERS.get(kind, ""))]).decoded for kind in VIEW_RULES}
    assert told["clean"] == clean and all(told[kind] > clean for kind in ("hflip", "jpeg", "blur", "noise"))
    assert told["rescale"] > 3 * clean and told["crop"] < told["hflip"]
    # One after the other: the largest counts.
    assert Footprint.of(expand_views("clean,hflip,rescale:2,blur:1")).decoded == told["rescale"]


def test_a_picture_takes_its_file_and_what_its_pixels_become() -> None:
    footprint = Footprint.of([View()])
    assert footprint.n_bytes(10**6, "PNG", 12_345) == footprint.n_bytes(10**6, "PNG", 0) + 12_345
    assert 12_000_000 <= footprint.n_bytes(10**6, "PNG", 0) < 40_000_000
    assert footprint.n_bytes(64, "PNG", 0) < 5_000


@pytest.mark.parametrize("format", FORMATS)
def test_a_header_that_could_not_be_read_is_that_of_the_largest_picture(format: str) -> None:
    footprint = Footprint.of([View()])
    assert footprint.n_bytes(MAX_PIXELS, format, 0) <= footprint.n_bytes(0, "", 0)


def test_a_deep_tiff_in_one_strip_is_a_picture() -> None:
    data = deep_tiff(16)
    assert probe_image(data) == ImageInfo(16, 16, "TIFF") and decode_rgb(data).size == (16, 16)
