"""Bytes of a picture → RGB: the one conversion that every pixel passes through, with its limits.

Pillow decides what a file holds; `pictures.compositing` decides what that means in RGB, and this module what of it
is shown (first frame, EXIF). It turns whatever hostile bytes provoke in Pillow into `ImageError`. Nothing here
changes Pillow's settings, so it can run in many threads and processes at once. Reasons:
docs/decisions/0001-rgb-conversion.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

from PIL import Image, UnidentifiedImageError, features
from PIL.Image import Transpose

from featcache.errors import ImageError
from featcache.files.other_kinds import kind_of_bytes
from featcache.files.picture_formats import HEAD_BYTES, HEIF, HEIF_ADVICE, PICTURE_FORMATS, format_of_bytes
from featcache.pictures.compositing import detach, to_rgb, whiten_around
from featcache.pictures.decode_rules import DECODE_RULES
from featcache.pictures.orientation import ORIENTATION, SWAPPING, TURNS, orientation_of
from featcache.pictures.quiet import quietly

__all__ = [
    "MAX_ASPECT",
    "MAX_PIXELS",
    "ImageInfo",
    "Shortcut",
    "decode_rgb",
    "probe_image",
]

MAX_PIXELS = 178_956_970
"""Width × height above which a picture is refused: twice Pillow's warning level, 0.7 GB when decoded."""

MAX_ASPECT = 200
"""Long side / short side above which a picture is refused."""

# EPS would start Ghostscript, and the rare formats have the least tested parsers: only these are ever tried.
_OPTIONAL = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
_FORMATS = tuple(
    each.name
    for each in PICTURE_FORMATS
    if each.name not in ("MPO", HEIF)  # JPEG opens MPO; HEIF is opened by a library of its own
    and (each.name not in _OPTIONAL or features.check(_OPTIONAL[each.name]))
)
_SCALABLE = frozenset({"JPEG", "MPO"})
_EXIF_BLOCK = 0x8769
_WEBP_EXIF = 0x08
_QUOTED = re.compile(r"""(?:\bb|(?<!\w))(['"]).*\1""")
"""What an error quotes."""


Shortcut: TypeAlias = Callable[[tuple[int, int]], Image.Image | None]
"""Called with the (width, height) of a JPEG; returns its pixels in RGB, as stored, or None: Pillow is to decode it."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of a picture says.

    Attributes
    ----------
    width, height : int
        Size in pixels, as stored, before any EXIF rotation.
    format : str
        Pillow's name, such as ``"JPEG"``; ``"MPO"`` for a JPEG that holds several pictures.
    has_exif : bool
        Whether it has EXIF data, of whatever content, ahead of its pixels.
    """

    width: int
    height: int
    format: str
    has_exif: bool = False


def probe_image(data: bytes) -> ImageInfo | None:
    """Read the header of a picture without decoding it.

    It takes 15 to 60 µs for most formats, 0.2 ms for TIFF, and never raises.

    Returns
    -------
    ImageInfo or None
        None if there is no header of a supported format, or if it states more pixels than Pillow opens at
        all. A header may promise what the rest does not hold: only `decode_rgb` knows.
    """
    size = _webp_size(data)
    if size is not None:
        return ImageInfo(*size, "WEBP", has_exif=data[12:16] == b"VP8X" and bool(data[20] & _WEBP_EXIF))
    try:
        with quietly():
            image = _open(data)
            width, height = image.size
            if image.format == "TIFF" and image.getexif().get(ORIENTATION) in SWAPPING:
                width, height = height, width  # Pillow reports TIFF sizes as rotated
            return ImageInfo(width, height, image.format or "", _has_exif(image))
    except Exception:  # hostile bytes raise anything
        return None


def decode_rgb(
    data: bytes,
    *,
    at_least: tuple[int, int] | None = None,
    rules: int = DECODE_RULES,
    shortcut: Shortcut | None = None,
) -> Image.Image:
    """Decode the bytes of a picture file to RGB, turned the way its EXIF orientation says.

    Transparency is composited over white; 16-bit grey is divided by 257 and rounded; colour profiles are
    ignored; the first frame stands for an animation. A corrupt EXIF block counts as no rotation.

    Parameters
    ----------
    data : bytes
        The bytes of the picture file.
    at_least : (height, width) or None
        Let libjpeg decode a JPEG at 1/2, 1/4 or 1/8 of its size where that divides both sides and the result,
        turned, is no smaller than this: several times faster, but the pixels are others. None: at full size,
        exactly.
    rules : int
        By which rules, from 1 to `DECODE_RULES`: those of the vectors that the picture's are compared with.
    shortcut : callable, optional
        Asked for the pixels of a JPEG at its full size, once its header is known to be in order.

    Returns
    -------
    PIL.Image.Image
        Mode ``"RGB"``, loaded, without the file's metadata.

    Raises
    ------
    ImageError
        If the bytes are no picture of a supported format, are cut short or corrupt, exceed `MAX_PIXELS` or
        `MAX_ASPECT` (found in the header, before any pixel is allocated), or hold pixels without a stated
        white.
    """
    try:
        with quietly():
            rgb, turn = _decode(data, at_least, rules, shortcut)
    except ImageError:
        raise
    except UnidentifiedImageError:
        names = ", ".join(_FORMATS)
        raise ImageError(f"not a picture ({names}): {_what(data)}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"picture has more than the {MAX_PIXELS} pixels allowed: {_reason(error, data)}") from None
    except Exception as error:  # hostile bytes raise anything, TypeError and zlib.error included
        raise ImageError(f"picture of {len(data)} bytes cannot be decoded: {_reason(error, data)}") from error
    rgb.info.clear()
    return rgb if turn is None else rgb.transpose(turn)


def _open(data: bytes) -> Image.Image:
    """Read the header."""
    if format_of_bytes(data[:HEAD_BYTES]) != HEIF:
        return Image.open(BytesIO(data), formats=_FORMATS)
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(f"picture of format HEIF: {HEIF_ADVICE}") from None
    opened: Image.Image = HeifImageFile(BytesIO(data))  # Pillow's own list of openers stays what it is
    return opened


def _decode(
    data: bytes, at_least: tuple[int, int] | None, rules: int, shortcut: Shortcut | None
) -> tuple[Image.Image, Transpose | None]:
    """Decode, and tell how the picture is to be turned."""
    _check_size(*(_webp_size(data) or (1, 1)))
    image = _open(data)
    _check_size(*image.size)
    _scale_transparency(image)
    frame = _first_frame(image) if rules > 1 else None
    if image.format in _SCALABLE:
        size = image.size
        if at_least is not None:
            _scale(image, at_least[::-1] if orientation_of(image) not in SWAPPING else at_least)
        rgb = shortcut(size) if shortcut is not None and image.size == size else None
        if rgb is not None:
            return rgb, TURNS.get(orientation_of(image))
    image.load()
    _check_size(*image.size)  # what decodes HEIF may find another size than the header says
    format, turn = image.format, TURNS.get(orientation_of(image))
    rgb = to_rgb(detach(image), format)
    return (rgb if frame is None else whiten_around(rgb, frame)), turn


def _first_frame(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the part of the picture that the first frame of a GIF covers; None: it is no GIF, or all of it."""
    tiles = getattr(image, "tile", None)
    if image.format != "GIF" or not tiles:
        return None
    left, top, right, bottom = tiles[0][1]
    return None if (left, top, right, bottom) == (0, 0, *image.size) else (left, top, right, bottom)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"picture has {width} × {height} pixels, at most {MAX_PIXELS} are allowed")
    short, long = sorted((width, height))
    if short < 1 or long > MAX_ASPECT * short:
        raise ImageError(f"picture is {width} × {height}, at most 1 : {MAX_ASPECT} is allowed")


def _scale(image: Image.Image, at_least: tuple[int, int]) -> None:
    """Set up scaled decoding; a side that is cut off would be rounded up, and the picture stretched."""
    width, height = image.size
    for scale in (8, 4, 2):
        divides = width % scale == height % scale == 0
        if divides and width >= scale * at_least[0] and height >= scale * at_least[1]:
            image.draft(None, (width // scale, height // scale))
            return


def _scale_transparency(image: Image.Image) -> None:
    """Bring a PNG's transparent colour, which Pillow keeps as stored, to the 8 bits of the decoded pixels."""
    tiles = getattr(image, "tile", None)
    if image.format != "PNG" or not tiles or "transparency" not in image.info:
        return
    stored, rawmode = image.info["transparency"], tiles[0][3]
    if rawmode in ("L;2", "L;4"):
        image.info["transparency"] = stored * {"L;2": 85, "L;4": 17}[rawmode]
    elif rawmode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in stored)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Read the canvas of a WebP: Pillow would set up its decoder, canvas included, to tell the size."""
    if "WEBP" not in _FORMATS or len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            sides = int.from_bytes(data[26:30], "little")
            size = sides & 0x3FFF, sides >> 16 & 0x3FFF
        case b"VP8L" if data[20] == 0x2F:
            bits = int.from_bytes(data[21:25], "little")
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            size = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case _:
            return None
    return size if min(size) > 0 else None


def _has_exif(image: Image.Image) -> bool:
    """Whether there is EXIF data. A TIFF consists of such tags, so there it is their own block that counts."""
    return _EXIF_BLOCK in image.getexif() if image.format == "TIFF" else image.info.get("exif") is not None


def _what(data: bytes) -> str:
    """Say what kind of file it is; its bytes are nobody's business who reads of it."""
    kind = kind_of_bytes(data[:HEAD_BYTES])
    return "an empty file" if not data else f"{len(data)} bytes{f' of {kind}' if kind else ' of another kind'}"


def _reason(error: Exception, data: bytes) -> str:
    """Return the first line of an error without what it quotes of the data."""
    lines = str(error).splitlines()
    if not lines:
        return type(error).__name__
    line = _QUOTED.sub("…", lines[0])
    said, _, tail = line.partition(": ")
    return f"{type(error).__name__}: {said if tail and tail.encode(errors='replace') in data else line}"
