"""One table tells which files are pictures, by their names and by their first bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image, features

from featcache.cache.file_facts import FORMATS
from featcache.files.picture_formats import (
    ENDINGS,
    HEAD_BYTES,
    PICTURE_FORMATS,
    UNREAD_ENDINGS,
    format_of_bytes,
    has_heif,
    open_endings,
    without_ending,
)


def encode(format: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (16, 12), 0).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", [each.name for each in PICTURE_FORMATS if each.name not in ("MPO", "HEIF")])
def test_what_pillow_writes_is_told_by_its_first_bytes(format: str) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    assert format_of_bytes(encode(format)[:HEAD_BYTES]) == format


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"P6\n# a comment\n16 12\n255\n", "PPM"),
        (b"P1 16 12\n0 1", "PPM"),
        (b"GIF87a\1\0", "GIF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"\xff\x4f\xff\x51\0", "JPEG2000"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", None),
        (b"BMW 320i and other cars, a list of them", None),
        (b"P5 is a Korean label", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"\xff\xfe<\0h\0t\0m\0l\0", None),
        (b"", None),
    ],
)
def test_first_bytes_tell_the_format(head: bytes, format: str | None) -> None:
    assert format_of_bytes(head) == format


def test_every_format_has_a_code_on_disk() -> None:
    assert {each.name for each in PICTURE_FORMATS} == set(FORMATS) - {""}


def test_endings_are_lower_case_and_stand_for_one_thing() -> None:
    endings = [ending for each in PICTURE_FORMATS for ending in each.endings]
    assert len(endings) == len(set(endings)) and not set(endings) & UNREAD_ENDINGS
    assert all(ending == ending.lower() and ending.startswith(".") for ending in {*endings, *UNREAD_ENDINGS})
    assert {".avif", ".jfif", ".jpe", ".jp2", ".mpo", ".pjpeg", ".ppm", ".heic", ".heif"} <= ENDINGS


def test_every_ending_that_pillow_gives_a_decoded_format_is_taken() -> None:
    Image.init()
    ours = {each.name for each in PICTURE_FORMATS} - {"HEIF"}
    assert {ending for ending, format in Image.EXTENSION.items() if format in ours} - ENDINGS <= {".pfm"}


@pytest.mark.parametrize("is_there", [False, True])
def test_heic_is_taken_where_its_library_is(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.files.picture_formats.has_heif", lambda: is_there)
    assert ({".heic", ".heif"} <= open_endings()) == is_there
    assert ENDINGS - open_endings() <= {".heic", ".heif", ".heics", ".heifs", ".hif"}
    assert isinstance(has_heif(), bool)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a/1.jpg", "a/1"), ("1.JPEG", "1"), ("v1.5", "v1.5"), ("a.b/1", "a.b/1"), ("1.jpg.gif", "1.jpg")],
)
def test_names_lose_endings_of_pictures_alone(name: str, stem: str) -> None:
    assert without_ending(name) == stem
