"""Formats of pictures: how files of each are called, and how their bytes begin.

One table for all that look for pictures (folders, tars, columns of Parquet files) and for what decodes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from posixpath import splitext

__all__ = [
    "ENDINGS",
    "HEAD_BYTES",
    "HEIF",
    "HEIF_ADVICE",
    "PICTURE_FORMATS",
    "UNREAD_ENDINGS",
    "format_of_bytes",
    "has_heif",
    "open_endings",
    "without_ending",
]

HEIF = "HEIF"
HEIF_ADVICE = "HEIC and HEIF need pip install 'featcache[heif]'"
HEAD_BYTES = 64
"""So many bytes tell the format."""


@dataclass(frozen=True)
class PictureFormat:
    """A format that can be decoded.

    Attributes
    ----------
    name : str
        As Pillow names it.
    endings : tuple of str
        How its files end, in lower case with the dot.
    begin : pattern or None
        What its first bytes match; None: they are those of a format before it.
    """

    name: str
    endings: tuple[str, ...]
    begin: re.Pattern[bytes] | None


def _format(name: str, endings: str, begin: bytes | None) -> PictureFormat:
    pattern = None if begin is None else re.compile(begin, re.DOTALL)
    return PictureFormat(name, tuple(f".{ending}" for ending in endings.split()), pattern)


PICTURE_FORMATS = (
    _format("JPEG", "jpg jpeg jpe jfif jif pjpeg pjp", rb"\xff\xd8\xff"),
    _format("MPO", "mpo", None),
    _format("PNG", "png apng", rb"\x89PNG\r\n\x1a\n"),
    _format("GIF", "gif", rb"GIF8[79]a"),
    _format("BMP", "bmp dib", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    _format("TIFF", "tif tiff", rb"II[*+]\0|MM\0[*+]"),
    _format("PPM", "ppm pgm pbm pnm", rb"P[1-6]\s+(?:#[^\n]*\s+)*[0-9]+\s+[0-9]+\s"),
    _format("WEBP", "webp", rb"RIFF.{4}WEBP"),
    _format("JPEG2000", "jp2 j2k j2c jpc jpf jpx", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
    _format("AVIF", "avif avifs", rb".{4}ftyp(?:.{4}){0,12}?avi[fs]"),
    _format(HEIF, "heic heif heics heifs hif", rb".{4}ftyp(?:.{4}){0,12}?(?:hei[cxms]|hev[cxms]|mif1|msf1)"),
)
"""In the order in which first bytes are looked at: a file of AVIF may call itself HEIF as well."""

ENDINGS = frozenset(ending for each in PICTURE_FORMATS for ending in each.endings)

UNREAD_ENDINGS = frozenset(
    (
        *(".svg", ".svgz", ".ico", ".icns", ".cur", ".psd", ".psb", ".xcf", ".tga", ".pcx", ".eps", ".jxl", ".jxr"),
        *(".wdp", ".hdp", ".exr", ".hdr", ".pfm", ".pam", ".dds", ".qoi", ".bpg", ".flif", ".sgi", ".dng", ".cr2"),
        *(".cr3", ".nef", ".nrw", ".arw", ".sr2", ".srw", ".orf", ".rw2", ".raf", ".pef", ".x3f", ".raw"),
    )
)
"""Endings of pictures that are not decoded."""


def format_of_bytes(head: bytes) -> str | None:
    """Return the format of a file by its first `HEAD_BYTES`; None: they are not those of a picture."""
    return next((each.name for each in PICTURE_FORMATS if each.begin is not None and each.begin.match(head)), None)


@cache
def has_heif() -> bool:
    """Whether pictures of the format HEIF can be decoded: its library is installed."""
    return find_spec("pillow_heif") is not None


def open_endings() -> frozenset[str]:
    """Return the endings of pictures that can be decoded here."""
    return frozenset(ending for each in PICTURE_FORMATS if each.name != HEIF or has_heif() for ending in each.endings)


def without_ending(name: str) -> str:
    """Return a name without its ending, if that is one of pictures."""
    stem, ending = splitext(name)
    return stem if ending.lower() in ENDINGS else name
