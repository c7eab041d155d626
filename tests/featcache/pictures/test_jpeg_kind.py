"""Kinds of JPEG are told from headers that are written by hand, and agree with what Pillow reads of its own."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featcache.pictures.decoders import is_plain
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind, read_jpeg_header

JFIF = (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
YCC = ((1, 0x22), (2, 0x11), (3, 0x11))


def adobe(transform: int) -> tuple[int, bytes]:
    return 0xEE, b"Adobe\0d\0\0\0\0" + bytes([transform])


def header(
    *before: tuple[int, bytes],
    parts: tuple[tuple[int, int], ...] = YCC,
    frame: int = 0xC0,
    bits: int = 8,
    size: tuple[int, int] = (40, 30),
    n_in_scan: int | None = None,
) -> bytes:
    """A JPEG up to its first scan."""
    components = b"".join(bytes([name, factors, 0]) for name, factors in parts)
    body = struct.pack(">BHHB", bits, size[1], size[0], len(parts)) + components
    n = len(parts) if n_in_scan is None else n_in_scan
    scan = bytes([n]) + b"\1\0" * n + b"\0\x3f\0"
    segments = [*before, (frame, body), (0xDA, scan)]
    written = b"".join(b"\xff" + bytes([m]) + struct.pack(">H", len(b) + 2) + b for m, b in segments)
    return b"\xff\xd8" + written


def kind_of(data: bytes) -> JpegKind:
    found = read_jpeg_header(data)
    assert found is not None
    return found.kind


GREY, CMYK = ((1, 0x11),), tuple((n, 0x11) for n in range(1, 5))
KINDS: list[tuple[bytes, JpegKind, bool]] = [
    (header(JFIF), JpegKind("baseline", "YCbCr", "4:2:0"), True),
    (header(JFIF, parts=((1, 0x21), *YCC[1:])), JpegKind("baseline", "YCbCr", "4:2:2"), True),
    (header(JFIF, parts=((1, 0x12), *YCC[1:])), JpegKind("baseline", "YCbCr", "4:4:0"), True),
    (header(JFIF, parts=((1, 0x41), *YCC[1:])), JpegKind("baseline", "YCbCr", "4:1:1"), True),
    (header(JFIF, parts=((1, 0x11), *YCC[1:])), JpegKind("baseline", "YCbCr", "4:4:4"), True),
    (header(JFIF, parts=((1, 0x22), (2, 0x12), (3, 0x12))), JpegKind("baseline", "YCbCr", "2x2,1x2,1x2"), False),
    (header(JFIF, parts=GREY), JpegKind("baseline", "grey", ""), True),
    (header(JFIF, parts=((1, 0x22),)), JpegKind("baseline", "grey", "2x2"), False),
    (header(JFIF, (0xDD, b"\0\4")), JpegKind("baseline", "YCbCr", "4:2:0", has_restarts=True), True),
    (header(JFIF, frame=0xC2), JpegKind("progressive", "YCbCr", "4:2:0"), False),
    (header(JFIF, frame=0xC1), JpegKind("extended", "YCbCr", "4:2:0"), False),
    (header(JFIF, frame=0xC9), JpegKind("other", "YCbCr", "4:2:0"), False),
    (header(JFIF, frame=0xC1, bits=12), JpegKind("extended", "YCbCr", "4:2:0", precision=12), False),
    (header(JFIF, n_in_scan=1), JpegKind("baseline", "YCbCr", "4:2:0", is_odd=True), False),
    (header(JFIF, size=(40, 0)), JpegKind("baseline", "YCbCr", "4:2:0", is_odd=True), False),
    (header(JFIF, (0xC0, b"")), JpegKind("baseline", "YCbCr", "4:2:0", is_odd=True), False),
    (header(), JpegKind("baseline", "YCbCr", "4:2:0"), True),
    (header(adobe(0)), JpegKind("baseline", "RGB", "4:2:0"), False),
    (header(adobe(1)), JpegKind("baseline", "YCbCr", "4:2:0"), True),
    (header(JFIF, adobe(0)), JpegKind("baseline", "YCbCr", "4:2:0"), True),
    (header(parts=((82, 0x11), (71, 0x11), (66, 0x11))), JpegKind("baseline", "RGB", "4:4:4"), False),
    (header(adobe(2), parts=CMYK), JpegKind("baseline", "YCCK", "1x1,1x1,1x1,1x1"), False),
    (header(adobe(0), parts=CMYK), JpegKind("baseline", "CMYK", "1x1,1x1,1x1,1x1"), False),
    (header(JFIF, parts=YCC[:2]), JpegKind("baseline", "other", "2x2,1x1"), False),
]


@pytest.mark.parametrize(("data", "kind", "plain"), KINDS, ids=lambda value: str(value)[:40])
def test_a_header_tells_the_kind_and_whether_decoders_agree_on_it(data: bytes, kind: JpegKind, plain: bool) -> None:
    assert kind_of(data) == kind and is_plain(kind) is plain


def test_stray_bytes_and_lonely_markers_are_odd_and_filling_is_not() -> None:
    plain = header(JFIF)
    at = plain.index(b"\xff\xc0")
    assert not kind_of(plain[:at] + b"\xff\xff" + plain[at:]).is_odd
    for stray in (b"\0", b"abc", b"\xff\xd0", b"\xff\0"):
        assert kind_of(plain[:at] + stray + plain[at:]).is_odd


def test_a_header_tells_the_size_and_which_data_are_beside_the_pixels() -> None:
    segments = (0xE1, b"Exif\0\0MM"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), (0xE2, b"ICC_PROFILE\0\1\1")
    data = header(JFIF, *segments, (0xDD, b"\1\0"))
    found = read_jpeg_header(data + bytes(9))
    kind = JpegKind("baseline", "YCbCr", "4:2:0", has_restarts=True)
    assert found == JpegHeader(kind, 40, 30, 256, has_exif=True, has_xmp=True, has_icc=True, scan=len(data))


def test_a_kind_says_what_is_uncommon_about_it() -> None:
    assert str(JpegKind("baseline", "YCbCr", "4:2:0")) == "JPEG baseline 4:2:0"
    told = str(JpegKind("extended", "grey", "", 12, has_restarts=True, is_odd=True))
    assert told == "JPEG extended grey 12 bits with restarts with an odd header"


@pytest.mark.parametrize("options", [{"subsampling": n} for n in range(3)] + [{"progressive": True}])
def test_what_pillow_writes_is_read_as_pillow_reads_it(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.effect_noise((41, 27), 60).convert("RGB").save(file, "JPEG", exif=b"Exif\0\0", **options)
    found, image = read_jpeg_header(file.getvalue()), Image.open(file)
    assert found is not None and (found.width, found.height) == image.size and found.has_exif
    assert (found.kind.process == "progressive") == ("progressive" in image.info)
    layers: Any = image.layer  # type: ignore[attr-defined]
    assert found.kind.sampling == {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}[layers[0][1:3]]


@given(st.data())
def test_cut_and_damaged_headers_are_none_or_a_kind(data: st.DataObject) -> None:
    whole = header(JFIF, adobe(1), (0xDD, b"\0\4"))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert read_jpeg_header(whole[:cut]) is None
    damaged = bytearray(whole)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        damaged[at] = value
    found = read_jpeg_header(bytes(damaged))
    assert found is None or str(found.kind).startswith("JPEG")
