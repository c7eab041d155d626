"""What is done to the bytes of a picture before a GPU decodes it: in a thread, or in a process that reads many."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from featcache.dataset.sample import ImageSource
from featcache.files.picture_formats import HEAD_BYTES, format_of_bytes
from featcache.pictures.decode import MAX_PIXELS
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind, read_jpeg_header
from featcache.pictures.orientation import TURNS, orientation_of
from featcache.pictures.quiet import quietly
from featcache.pictures.resample import TALL

__all__ = ["Loaded", "Refused", "is_for_card", "load_picture"]

_FILL, _STUFFED, _END = 0xFF, 0x00, 0xD9
_RESTARTS = (0xD0, 0xD7)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The bytes of a picture that the card can do.

    Attributes
    ----------
    data : bytes or memoryview
        They are those that were hashed. A view is of memory that is used again when its window is done.
    header : JpegHeader
        What they say of themselves.
    turn : Transpose or None
        How it is to be turned to stand upright.
    seconds : float
        That reading took.
    """

    data: bytes | memoryview
    header: JpegHeader
    turn: Transpose | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that is for the CPU.

    Attributes
    ----------
    why : str
        As a `Way` says it; empty if the CPU will say it.
    kind : JpegKind or None
        What it is, if that was found out: that the card does not take the kind goes before ``why``.
    """

    why: str
    kind: JpegKind | None = None


def load_picture(image: ImageSource, key: bytes, is_out: Callable[[JpegKind], bool]) -> Loaded | Refused:
    """Read a picture, and look whether it is for the card.

    Parameters
    ----------
    image : ImageSource
        Where it is.
    key : bytes
        Its sha256 when it was hashed.
    is_out : callable
        Tells of which kinds it is known that the card does not do them.
    """
    started = time.perf_counter()
    try:
        data = image.read_bytes()
    except OSError:
        return Refused("")  # the CPU finds the same, and says so
    if (header := read_jpeg_header(data)) is None:
        return Refused(format_of_bytes(data[:HEAD_BYTES]) or "unknown")
    kind = header.kind
    if is_out(kind) or not is_for_card(header):
        return Refused(str(kind), kind)
    if not _is_ended(data, header.scan):
        return Refused("refused", kind)
    try:
        turn = _turn(data, header)
    except Exception:  # whatever Pillow raises: it will say so
        return Refused("refused", kind)
    if hashlib.sha256(data).digest() != key:
        return Refused("", kind)
    return Loaded(data, header, turn, time.perf_counter() - started)


def is_for_card(header: JpegHeader) -> bool:
    """Tell whether a picture has a size that a GPU resizes as Pillow does."""
    short, long = sorted((header.width, header.height))
    return short * long <= MAX_PIXELS and long <= TALL * short  # it may be turned


def _is_ended(data: bytes, scan: int) -> bool:
    """Tell whether a scan ends with its picture; engines take files with a stray marker that Pillow refuses.

    The first marker that is no restart is then the end of the picture.
    """
    levels = np.frombuffer(data, np.uint8, offset=scan)
    after = levels[np.flatnonzero(levels[:-1] == _FILL) + 1]
    is_restart = (after >= _RESTARTS[0]) & (after <= _RESTARTS[1])
    markers = after[(after != _STUFFED) & (after != _FILL) & ~is_restart]
    return len(markers) > 0 and bool(markers[0] == _END)


def _turn(data: bytes, header: JpegHeader) -> Transpose | None:
    """Return how a JPEG is to be turned; Pillow opens it, so that what it refuses is refused."""
    with quietly(), Image.open(BytesIO(data), formats=("JPEG",)) as image:
        if image.size != (header.width, header.height):
            raise ValueError("Pillow finds another size")
        return TURNS.get(orientation_of(image)) if header.has_exif or header.has_xmp else None
