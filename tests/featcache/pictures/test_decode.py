import io
import pickle
import random
import struct
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, UnidentifiedImageError, features

from featcache.errors import ImageError
from featcache.files.digests import canonical_json
from featcache.pictures.decode import MAX_ASPECT, MAX_PIXELS, ImageInfo, decode_rgb, probe_image
from featcache.pictures.decode_rules import DECODE_DOCUMENT, DECODE_RULES, decode_document

OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", *(f for f, name in OPTIONAL.items() if features.check(name))]
BEST: dict[str, dict[str, Any]] = {
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "JPEG": {"quality": 100, "subsampling": 0},
}
CORNERS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30), (200, 200, 200), (0, 0, 0)]
HEIGHT, WIDTH = 24, 36


def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def corners() -> Image.Image:
    """A picture of 2 × 3 flat fields, each 12 pixels square."""
    fields = np.array(CORNERS, np.uint8).reshape(2, 3, 3)
    return Image.fromarray(fields.repeat(12, axis=0).repeat(12, axis=1))


def rows_of(data: bytes) -> list[list[tuple[int, ...]]]:
    image = decode_rgb(data)
    assert image.mode == "RGB" and type(image) is Image.Image and not image.info
    return [[tuple(pixel) for pixel in row] for row in np.asarray(image).tolist()]


def png(width: int, height: int, depth: int, colour: int, raw: bytes, **chunks: bytes) -> bytes:
    """Write a PNG by hand: what Pillow cannot save, it must still read."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    parts = chunk(b"IHDR", head), extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("format", FORMATS)
def test_colours_survive_every_format(format: str) -> None:
    made = np.asarray(decode_rgb(encode(corners(), format, **BEST.get(format, {})))).astype(int)
    tolerance = {"JPEG": 3, "AVIF": 8, "GIF": 0}.get(format, 0)
    centres = made[6::12, 6::12].reshape(-1, 3)
    assert np.abs(centres - np.array(CORNERS)).max() <= tolerance


@pytest.mark.parametrize("format", FORMATS)
def test_probe_agrees_with_the_decoded_picture(format: str) -> None:
    data = encode(corners(), format)
    assert probe_image(data) == ImageInfo(WIDTH, HEIGHT, format)
    assert decode_rgb(data).size == (WIDTH, HEIGHT)


def test_grey_is_repeated() -> None:
    assert rows_of(encode(Image.frombytes("L", (3, 1), bytes([0, 100, 255])))) == [[(0,) * 3, (100,) * 3, (255,) * 3]]


def test_one_bit_is_black_and_white() -> None:
    assert rows_of(encode(Image.frombytes("1", (2, 1), b"\x40"))) == [[(0, 0, 0), (255, 255, 255)]]


@pytest.mark.parametrize(("depth", "scale"), [(2, 85), (4, 17)])
def test_transparent_level_of_shallow_grey_becomes_white(depth: int, scale: int) -> None:
    raw = b"\x00" + bytes([0b0001_1011]) if depth == 2 else b"\x00" + bytes([0x01, 0x23])
    made = rows_of(png(4, 1, depth, 0, raw, tRNS=struct.pack(">H", 1)))
    assert made == [[(0,) * 3, (255,) * 3, (2 * scale,) * 3, (3 * scale,) * 3]]


def test_transparent_level_of_grey_becomes_white() -> None:
    image = Image.frombytes("L", (3, 1), bytes([0, 100, 200]))
    assert rows_of(encode(image, transparency=100)) == [[(0,) * 3, (255,) * 3, (200,) * 3]]


def test_transparent_colour_becomes_white() -> None:
    image = Image.frombytes("RGB", (2, 1), bytes([1, 2, 3, 1, 2, 4]))
    assert rows_of(encode(image, transparency=(1, 2, 3))) == [[(255, 255, 255), (1, 2, 4)]]


def test_deep_colour_keeps_its_high_byte_and_its_transparent_colour() -> None:
    levels = [0x01FF, 0x0200, 0x0300, 0xFF00, 0x80FF, 0x0000]
    raw = b"\x00" + struct.pack(">6H", *levels)
    assert rows_of(png(2, 1, 16, 2, raw)) == [[(1, 2, 3), (255, 128, 0)]]
    made = rows_of(png(2, 1, 16, 2, raw, tRNS=struct.pack(">3H", *levels[:3])))
    assert made == [[(255, 255, 255), (255, 128, 0)]]


def palette_picture() -> Image.Image:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([10, 20, 30, 40, 50, 60, 0, 0, 0])
    return image


def test_palette_is_looked_up() -> None:
    assert rows_of(encode(palette_picture())) == [[(10, 20, 30), (40, 50, 60), (0, 0, 0)]]


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_transparent_index_becomes_white(format: str) -> None:
    data = encode(palette_picture(), format, transparency=1)
    assert rows_of(data) == [[(10, 20, 30), (255, 255, 255), (0, 0, 0)]]


def test_palette_with_alpha_is_composited_over_white() -> None:
    data = encode(palette_picture(), transparency=bytes([255, 0, 51]))
    assert rows_of(data) == [[(10, 20, 30), (255, 255, 255), (204, 204, 204)]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", *(["WEBP"] if "WEBP" in FORMATS else [])])
def test_alpha_is_composited_over_white(format: str) -> None:
    image = Image.frombytes("RGBA", (3, 1), bytes([10, 20, 30, 255, 10, 20, 30, 0, 100, 0, 200, 51]))
    data = encode(image, format, **(BEST.get(format, {}) | ({"exact": True} if format == "WEBP" else {})))
    assert rows_of(data) == [[(10, 20, 30), (255, 255, 255), (224, 204, 244)]]


def test_grey_with_alpha_is_composited_over_white() -> None:
    image = Image.frombytes("LA", (3, 1), bytes([100, 255, 100, 0, 0, 51]))
    assert rows_of(encode(image)) == [[(100,) * 3, (255,) * 3, (204,) * 3]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    levels = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    greys = [0, 0, 1, 1, 128, 254, 255, 255]
    assert rows_of(encode(Image.fromarray(levels), format)) == [[(grey,) * 3 for grey in greys]]


def test_16_bit_transparent_level_becomes_white() -> None:
    raw = b"\x00" + struct.pack(">3H", 257, 258, 514)
    made = rows_of(png(3, 1, 16, 0, raw, tRNS=struct.pack(">H", 258)))
    assert made == [[(1,) * 3, (255,) * 3, (2,) * 3]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_stated_white_are_refused(dtype: type) -> None:
    with pytest.raises(ImageError, match="no stated white"):
        decode_rgb(encode(Image.fromarray(np.ones((2, 2), dtype)), "TIFF"))


def test_cmyk_jpeg_is_not_inverted() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    made = np.asarray(decode_rgb(encode(cmyk, "JPEG", quality=100))).astype(int)
    assert np.abs(made - np.array([255, 0, 0])).max() <= 3
    assert rows_of(encode(Image.new("CMYK", (1, 1), (0, 255, 0, 51)), "TIFF")) == [[(204, 0, 204)]]


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_are_converted(mode: str) -> None:
    pixel = {"YCbCr": (128, 128, 128), "LAB": (137, 128, 128)}[mode]
    made = np.asarray(decode_rgb(encode(Image.new(mode, (2, 2), pixel), "TIFF"))).astype(int)
    assert np.abs(made - 128).max() <= 2


def test_colour_profile_is_ignored() -> None:
    plain = encode(corners())
    assert rows_of(encode(corners(), icc_profile=b"not a profile")) == rows_of(plain)


@pytest.mark.parametrize("format", [f for f in ("JPEG", "PNG", "TIFF", "WEBP") if f in FORMATS])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    upright = np.asarray(corners())
    stored = {  # how a camera stores it, so that the viewer's turn brings it upright
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        8: np.rot90(upright, -1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    data = encode(image, format, **({"exif": exif} | BEST.get(format, {})))
    made = np.asarray(decode_rgb(data)).astype(int)
    assert made.shape == upright.shape
    assert np.abs(made[6::12, 6::12] - upright[6::12, 6::12]).max() <= 3
    info = probe_image(data)
    assert info is not None and (info.width, info.height) == image.size


@pytest.mark.parametrize("exif", [b"Exif\x00\x00" + b"\xff" * 40, b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", b"garbage"])
@pytest.mark.parametrize("format", [f for f in ("JPEG", "PNG", "WEBP") if f in FORMATS])
def test_corrupt_exif_is_no_rotation(format: str, exif: bytes) -> None:
    assert decode_rgb(encode(corners(), format, exif=exif)).size == (WIDTH, HEIGHT)


def test_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for format in ("GIF", "PNG"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:])
        assert rows_of(data)[0][0] == (255, 0, 0)


def test_several_pictures_in_a_jpeg_are_the_first() -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ((255, 255, 255), (0, 0, 0))]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert probe_image(data) == ImageInfo(16, 8, "MPO")
    assert rows_of(data)[0][0] == (255, 255, 255)


NOT_PICTURES = {
    "empty": b"",
    "text": b"These are not the pixels you are looking for.\n" * 20,
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
    "html": b"<!doctype html><title>404</title>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n",
    "pdf": b"%PDF-1.7\n",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_other_bytes_are_no_picture(name: str) -> None:
    assert probe_image(NOT_PICTURES[name]) is None
    with pytest.raises(ImageError, match=r"^not a picture \(.*\): (an empty file|\d+ bytes of )") as caught:
        decode_rgb(NOT_PICTURES[name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"root:x:0:0:root", b"P5 secret 4 255\n", b"P2 4 4 255 sec:ret 9", b"P6 1234567890123 4 255\n"]
)
def test_what_is_said_of_a_file_quotes_nothing_of_it(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode_rgb(data)
    told = str(caught.value)
    assert not any(word.decode() in told for word in data.split()[0 if data[:1] == b"r" else 1 :] if len(word) > 3)


@pytest.mark.parametrize("format", ["TGA", "ICO", "PCX", "SGI"])
def test_rare_formats_are_not_opened(format: str) -> None:
    data = encode(corners(), format)
    assert probe_image(data) is None
    with pytest.raises(ImageError, match="not a picture"):
        decode_rgb(data)


@pytest.mark.parametrize("format", FORMATS)
def test_cut_file_is_refused(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encode(noise, format)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            decode_rgb(data[: int(part * len(data))])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def bombs() -> dict[str, bytes]:
    big = 16_000  # 256 million pixels
    return {
        "png": png(big, big, 8, 2, b""),
        "png over the limit by one row": png(MAX_PIXELS // 10_000 + 1, 10_000, 8, 0, b""),
        "gif": b"GIF89a" + struct.pack("<HHBBB", big, big, 0, 0, 0) + b"," + bytes(10),
        "bmp": encode(Image.new("RGB", (1, 1)), "BMP").replace(struct.pack("<ii", 1, 1), struct.pack("<ii", big, big)),
        "ppm": b"P6 16000 16000 255\n",
        "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0)
        + (big - 1).to_bytes(3, "little") * 2,
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ImageError, match=str(MAX_PIXELS)):
        decode_rgb(bombs()[name])
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("shape", [(1, MAX_ASPECT + 1), (2 * MAX_ASPECT + 1, 2)])
def test_long_strip_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{shape[0]} × {shape[1]}.*{MAX_ASPECT}"):
        decode_rgb(encode(Image.new("RGB", shape)))


def test_longest_strip_allowed_is_decoded() -> None:
    assert decode_rgb(encode(Image.new("L", (MAX_ASPECT, 1)))).size == (MAX_ASPECT, 1)


def test_compressed_text_is_bounded() -> None:
    bomb = b"Comment\x00\x00" + zlib.compress(bytes(50_000_000))
    with pytest.raises(ImageError, match="too large"):
        decode_rgb(png(1, 1, 8, 0, b"\x00\x00", zTXt=bomb))


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    small = corners().resize((18, 12))
    alpha = small.convert("RGBA")
    options: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (small, "JPEG", {"exif": exif}),
        (small.convert("CMYK"), "JPEG", {"progressive": True}),
        (alpha, "PNG", {"exif": exif}),
        (small.quantize(4), "PNG", {"transparency": b"\x00\x80\xff"}),
        (small.quantize(4), "GIF", {"transparency": 1}),
        (small, "TIFF", {"exif": exif}),
        (alpha, "TIFF", {"compression": "tiff_lzw"}),
        (small, "TIFF", {"compression": "jpeg"}),
        (small, "BMP", {}),
        (small, "PPM", {}),
    ]
    options += [(alpha, format, {}) for format in OPTIONAL if format in FORMATS]
    return [encode(image, format, **more) for image, format, more in options]


def check_decodes_or_is_refused(data: bytes) -> None:
    info = probe_image(data)
    assert info is None or isinstance(info, ImageInfo)
    try:
        image = decode_rgb(data)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"
        image.tobytes()


@settings(max_examples=300)
@given(which=st.integers(0, 99), seed=st.integers(0, 2**32), flips=st.integers(1, 8), cut=st.booleans())
def test_damaged_files_decode_or_are_refused(seeds: list[bytes], which: int, seed: int, flips: int, cut: bool) -> None:
    rng = random.Random(seed)
    data = bytearray(seeds[which % len(seeds)])
    for _ in range(flips):
        # headers are where the parsers are: hit the first bytes more often
        end = rng.choice([32, 200, len(data)])
        data[rng.randrange(min(end, len(data)))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    check_decodes_or_is_refused(bytes(data[: rng.randrange(len(data))] if cut else data))


@settings(max_examples=150)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\x00", b"BM", b"P6", b"RIFF"]),
       st.binary(max_size=300))  # fmt: skip
def test_random_bytes_decode_or_are_refused(magic: bytes, rest: bytes) -> None:
    check_decodes_or_is_refused(magic + rest)


def noisy_tiff() -> bytes:
    """Write a TIFF over which Pillow warns: a tag that reaches past the end of the file."""
    data = bytearray(encode(Image.new("RGB", (8, 8)), "TIFF", software="x" * 40))
    at = data.index(struct.pack("<HHI", 305, 2, 41))
    data[at + 8 : at + 12] = struct.pack("<I", 2**31)
    return bytes(data)


def test_warnings_do_not_leak() -> None:
    data = noisy_tiff()
    with pytest.warns(UserWarning), Image.open(io.BytesIO(data)) as image:
        image.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_rgb(data).size == (8, 8)
        assert probe_image(data) == ImageInfo(8, 8, "TIFF")
        with pytest.raises(UserWarning), Image.open(io.BytesIO(data)) as image:  # outside, they are untouched
            image.load()


def test_large_picture_below_the_limit_gives_no_warning() -> None:
    side = int(MAX_PIXELS**0.5) - 10
    with pytest.raises(ImageError, match="cannot be decoded"):  # the header is fine, the pixels are missing
        decode_rgb(b"P5 %d %d 255\n" % (side, side))
    assert probe_image(b"P5 %d %d 255\n" % (side, side)) == ImageInfo(side, side, "PPM")


def test_threads_decode_alike_and_leave_the_filters_alone() -> None:
    data = [encode(corners(), format) for format in FORMATS] + [noisy_tiff()]
    expected = [decode_rgb(one).tobytes() for one in data]
    before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    barrier = threading.Barrier(8)

    def work(_: int) -> bool:
        barrier.wait()
        return all([decode_rgb(one).tobytes() for one in data] == expected for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert list(warnings.filters) == before and limit == Image.MAX_IMAGE_PIXELS


def test_decoded_picture_can_be_sent_to_another_process() -> None:
    image = decode_rgb(encode(corners(), "JPEG"))
    assert pickle.loads(pickle.dumps(image)).tobytes() == image.tobytes()


def test_document_is_canonical_json() -> None:
    assert '"alpha":"over white"' in canonical_json(DECODE_DOCUMENT)
    assert decode_document("exact") == DECODE_DOCUMENT | {"rules": 2}
    assert decode_document("exact", 1) == DECODE_DOCUMENT | {"rules": 1}
    assert decode_document("fast") == DECODE_DOCUMENT | {
        "rules": 2,
        "scaled": "jpeg by 1/2, 1/4 or 1/8 that divides both sides, not below twice the resize",
    }


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "JPEG"])
def test_other_formats_are_never_scaled(format: str) -> None:
    data = encode(corners(), format)
    assert decode_rgb(data, at_least=(1, 1)).tobytes() == decode_rgb(data).tobytes()


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)).map(lambda s: (s[0] // 4 * 4 or 1, s[1] // 2 * 2 or 1)),
    at_least=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    orientation=st.integers(1, 8),
    options=st.sampled_from([{}, {"progressive": True}, {"subsampling": 0}]),
)
def test_scaled_jpeg_is_the_smallest_whole_part_that_is_large_enough(
    size: tuple[int, int], at_least: tuple[int, int], orientation: int, options: dict[str, Any]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.new("RGB", size, (50, 100, 150)), "JPEG", exif=exif, **options)
    width, height = decode_rgb(data).size
    made = decode_rgb(data, at_least=at_least)
    scales = [
        s for s in (8, 4, 2) if height % s == width % s == 0 and height >= s * at_least[0] and width >= s * at_least[1]
    ]
    scale = scales[0] if scales else 1
    assert made.size == (width // scale, height // scale)
    assert made.mode == "RGB" and not made.info
    if scale == 1:
        assert made.tobytes() == decode_rgb(data).tobytes()
    else:
        assert made.height >= at_least[0] and made.width >= at_least[1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scaled_jpeg_shows_the_same_picture_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(corners().resize((288, 192), Image.Resampling.NEAREST), "JPEG", exif=exif, **BEST["JPEG"])
    exact = decode_rgb(data)
    made = decode_rgb(data, at_least=(exact.height // 8, exact.width // 8))
    assert made.size == (exact.width // 8, exact.height // 8)
    centres = np.asarray(exact).astype(int)[48::96, 48::96], np.asarray(made).astype(int)[6::12, 6::12]
    assert np.abs(centres[0] - centres[1]).max() <= 2


def test_scaled_decoding_takes_cmyk_grey_and_several_pictures() -> None:
    large = corners().resize((288, 192))
    several = encode(large, "MPO", save_all=True, append_images=[Image.new("RGB", (288, 192))])
    for data in (encode(large.convert("CMYK"), "JPEG"), encode(large.convert("L"), "JPEG"), several):
        made = decode_rgb(data, at_least=(48, 72))
        exact = decode_rgb(data).resize((72, 48), Image.Resampling.BOX)
        assert made.size == (72, 48)
        assert np.abs(np.asarray(made).astype(int) - np.asarray(exact)).mean() < 2


def test_scaled_decoding_refuses_a_cut_file() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    data = encode(noise, "JPEG")
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            decode_rgb(data[: int(part * len(data))], at_least=(32, 32))


def framed_gif(box: tuple[int, int, int, int], canvas: tuple[int, int], *, transparent: int | None = None) -> bytes:
    """A GIF whose only frame covers a box of its canvas in red; the first colour of the palette is blue."""
    left, top, right, bottom = box
    image = Image.new("P", (right - left, bottom - top), 1)
    image.putpalette([0, 0, 255, 255, 0, 0, 0, 255, 0, 9, 9, 9])
    options = {} if transparent is None else {"transparency": transparent}
    data = bytearray(encode(image, "GIF", optimize=False, **options))
    data[6:10] = struct.pack("<HH", *canvas)
    at = data.index(b",\0\0\0\0" + struct.pack("<HH", *image.size))
    data[at + 1 : at + 5] = struct.pack("<HH", left, top)
    return bytes(data)


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.mark.parametrize("box", [(2, 1, 5, 3), (0, 0, 3, 2), (5, 3, 8, 6), (0, 2, 8, 4), (0, 0, 8, 6)])
def test_around_a_small_first_frame_of_a_gif_there_is_white(box: tuple[int, int, int, int]) -> None:
    data = framed_gif(box, (8, 6))
    for rules, around in ((1, BLUE), (2, WHITE)):
        expected = Image.new("RGB", (8, 6), around)
        expected.paste(RED, box)
        assert rows_of_image(decode_rgb(data, rules=rules)) == rows_of_image(expected)
    assert decode_rgb(data).tobytes() == decode_rgb(data, rules=DECODE_RULES).tobytes()


def rows_of_image(image: Image.Image) -> list[list[tuple[int, ...]]]:
    return [[tuple(pixel) for pixel in row] for row in np.asarray(image).tolist()]


@pytest.mark.parametrize("rules", [1, 2])
def test_a_transparent_frame_of_a_gif_is_white_by_all_rules(rules: int) -> None:
    made = decode_rgb(framed_gif((2, 1, 5, 3), (8, 6), transparent=1), rules=rules)
    assert {colour for _, colour in made.getcolors() or ()} == {WHITE}


@pytest.mark.parametrize("rules", [1, 2])
def test_a_frame_that_is_larger_than_its_canvas_is_the_picture(rules: int) -> None:
    made = decode_rgb(framed_gif((0, 0, 5, 4), (3, 2)), rules=rules)
    assert made.size == (5, 4) and {colour for _, colour in made.getcolors() or ()} == {RED}


def test_other_pictures_are_the_same_by_all_rules() -> None:
    for format in FORMATS:
        data = encode(corners(), format)
        assert decode_rgb(data, rules=1).tobytes() == decode_rgb(data, rules=2).tobytes()


def heic(image: Image.Image, **options: Any) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="pictures of HEIF need the extra heif")
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, quality=-1, **options)
    return buffer.getvalue()


def test_heic_is_decoded_and_pillow_does_not_learn_of_it() -> None:
    data = heic(corners())
    assert probe_image(data) == ImageInfo(WIDTH, HEIGHT, "HEIF")
    made = np.asarray(decode_rgb(data)).astype(int)
    assert made.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(made[6::12, 6::12] - np.array(CORNERS).reshape(2, 3, 3)).max() <= 8
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))


def test_heic_is_turned_once_and_transparency_is_over_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_rgb(heic(corners(), exif=exif.tobytes()))
    assert turned.size == (HEIGHT, WIDTH)
    assert np.abs(np.asarray(turned).astype(int)[6, 6] - np.array(CORNERS[3])).max() <= 8
    clear = decode_rgb(heic(Image.new("RGBA", (16, 16), (200, 0, 0, 0))))
    assert clear.mode == "RGB" and np.asarray(clear).min() >= 250


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_heic_that_is_cut_short_is_refused(part: float) -> None:
    data = heic(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    with pytest.raises(ImageError):
        decode_rgb(data[: int(part * len(data))])


def test_heic_beyond_the_limits_is_refused_before_it_is_decoded() -> None:
    data = bytearray(heic(Image.new("RGB", (64, 64))))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 30_000, 30_000)
    with pytest.raises(ImageError):
        decode_rgb(bytes(data))
    tower = heic(Image.new("RGB", (64, 64 * (MAX_ASPECT + 2))))
    with pytest.raises(ImageError, match="at most 1 : 200"):
        decode_rgb(tower)


def test_heic_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"
    assert probe_image(data) is None
    with pytest.raises(ImageError, match=r"pip install 'featcache\[heif\]'"):
        decode_rgb(data)
