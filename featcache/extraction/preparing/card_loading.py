"""What is done to the bytes of a picture before a GPU has it: in a thread, or in a process that reads many."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Transpose

from featcache.dataset.sample import ImageSource
from featcache.errors import ImageError
from featcache.files.picture_formats import HEAD_BYTES, format_of_bytes
from featcache.pictures.decode import MAX_PIXELS, decode_rgb
from featcache.pictures.jpeg_kind import JpegHeader, JpegKind, read_jpeg_header
from featcache.pictures.orientation import TURNS, orientation_of
from featcache.pictures.quiet import quietly
from featcache.pictures.resample import TALL
from featcache.pictures.strips import to_array

__all__ = ["Found", "Loaded", "PixelSpace", "Pixels", "Refused", "divide_by_pixels", "is_for_card", "load_picture"]

_FILL, _STUFFED, _END = 0xFF, 0x00, 0xD9
_RESTARTS = (0xD0, 0xD7)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The bytes of a picture that the card can decode.

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
class Pixels:
    """A picture that the CPU decoded, for the card to resize.

    Attributes
    ----------
    levels : (height, width, 3) uint8 array
        RGB, upright. It is of memory that is used again when its window is done.
    why : str
        Why it was not the card that decoded it, as a `Way` says it; empty if there is nothing to tell.
    kind : JpegKind or None
        As of `Refused`.
    seconds, decode_seconds : float
        That reading and decoding took.
    """

    levels: NDArray[np.uint8]
    why: str
    kind: JpegKind | None
    seconds: float
    decode_seconds: float


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


Found: TypeAlias = Loaded | Pixels | str
"""What came of a picture; a string says, as a `Way` does, why it is for the CPU."""


class PixelSpace:
    """Memory for what is decoded of some pictures, one after the other.

    Parameters
    ----------
    memory : (n,) uint8 array
        Where it goes.
    rules : int
        By which rules pictures become RGB.
    """

    def __init__(self, memory: NDArray[np.uint8], rules: int) -> None:
        self.rules = rules
        self.n_taken = 0
        self._memory = memory

    def has(self, n_bytes: int) -> bool:
        """Tell whether there are so many bytes; 0: nobody knows how many are needed, or it is not to be decoded."""
        return 0 < n_bytes <= len(self._memory) - self.n_taken

    def put(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Copy an RGB picture for which there is space."""
        start, shape = self.n_taken, (picture.height, picture.width, 3)
        self.n_taken += math.prod(shape)
        return to_array(picture, out=self._memory[start : self.n_taken].reshape(shape))


def load_picture(
    image: ImageSource,
    key: bytes,
    is_out: Callable[[JpegKind], bool] | None,
    *,
    space: PixelSpace,
    n_bytes: int,
) -> Loaded | Pixels | Refused:
    """Read a picture, look whether the card decodes it, and decode it if not.

    Parameters
    ----------
    image : ImageSource
        Where it is.
    key : bytes
        Its sha256 when it was hashed.
    is_out : callable or None
        Tells of which kinds it is known that the card does not decode them; None: it decodes nothing.
    space : PixelSpace
        Where the pixels go of one that the card does not decode.
    n_bytes : int
        How many bytes of that they take; 0: it is not to be decoded.
    """
    started = time.perf_counter()
    try:
        data = image.read_bytes()
    except OSError:
        return Refused("")  # the CPU finds the same, and says so
    found = Refused("") if is_out is None else _look(data, is_out)
    if isinstance(found, Refused) and not space.has(n_bytes):
        return found
    if hashlib.sha256(data).digest() != key:
        return Refused("", found.kind if isinstance(found, Refused) else found[0].kind)
    seconds = time.perf_counter() - started
    return _decode(data, found, space, seconds) if isinstance(found, Refused) else Loaded(data, *found, seconds)


def _look(data: bytes, is_out: Callable[[JpegKind], bool]) -> tuple[JpegHeader, Transpose | None] | Refused:
    """Return the header and the turn of a picture that the card decodes."""
    if (header := read_jpeg_header(data)) is None:
        return Refused(format_of_bytes(data[:HEAD_BYTES]) or "unknown")
    kind = header.kind
    if is_out(kind) or not is_for_card(header):
        return Refused(str(kind), kind)
    if not _is_ended(data, header.scan):
        return Refused("refused", kind)
    try:
        return header, _turn(data, header)
    except Exception:  # whatever Pillow raises: it will say so
        return Refused("refused", kind)


def _decode(data: bytes, refused: Refused, space: PixelSpace, seconds: float) -> Pixels | Refused:
    """Have Pillow decode what the card does not; others find out again what is wrong with it, and say so."""
    started = time.perf_counter()
    try:
        picture = decode_rgb(data, rules=space.rules)
    except ImageError:
        return refused
    if max(picture.size) > TALL * min(picture.size):
        return Refused(refused.why or "narrow", refused.kind)
    if not space.has(3 * picture.width * picture.height):  # its header said less
        return refused
    return Pixels(space.put(picture), refused.why, refused.kind, seconds, time.perf_counter() - started)


def divide_by_pixels(pictures: Sequence[Loaded | Pixels], most: int) -> Iterator[slice]:
    """Divide pictures into runs that have at most so many pixels together, or are one."""
    start = n_pixels = 0
    for i, each in enumerate(pictures):
        own = each.header.width * each.header.height if isinstance(each, Loaded) else each.levels.size // 3
        if n_pixels + own > most and i > start:
            yield slice(start, i)
            start, n_pixels = i, 0
        n_pixels += own
    if start < len(pictures):
        yield slice(start, len(pictures))


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
